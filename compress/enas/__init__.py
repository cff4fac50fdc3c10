"""Fake pruning with architecture search: what to build and how much of it, decided together.

J. Zhao, H. Hao, B. Xu, J. Zhao, F. Shen, "Fake Pruning with AutoML for Model Compression"
H. Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018

search.py      child training and controller updates in turn, resumable; the finalists
controller.py  the LSTM that picks states, operations and ratios; reinforce.py how it learns
reward.py      α·Ratio·(1 + β·Gap) + TrainAcc
fake.py        channels of feature maps set to zero, and which they were
micro.py       the space of cells (models/enas), its shared weights
groups.py      the space of ratios over a fixed network's groups of channels
cost.py        Ratio in multiply-accumulates or milliseconds; latency.py the table
extract.py     from a trained child to a physically small network
"""
