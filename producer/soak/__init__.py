"""How many symbols a producer carries, what each stage of it costs, and what gives way first.

- `stages`: the producer with a sampler in it that tells where its CPU time goes;
- `machine`: CPU time and memory of processes and threads, from /proc;
- `chain`: exchanges, producers and what is measured of them, into a real Kafka;
- `report`: the tables;
- `__main__`: `python -m producer.soak`.

Exchanges and producers are processes of their own, an exchange for each producer, so that neither the simulator
nor the measuring takes time from what is measured.
"""
