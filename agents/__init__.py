"""The Faust side of a worker: records into engines, reports and snapshots out of them."""
