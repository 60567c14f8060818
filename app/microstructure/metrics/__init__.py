"""One metric, one file. The stateful ones follow `contract.Metric`."""
