"""PPO against step rewards: small, correct, hard to hack.

Pure functions: `kl`, `advantages`, `losses`, `credit`, `placement`. Models: `layouts`. The loop: `rollouts`, `judging`,
`batches`, `update`, `trainer`, with `guards` watching it, `state` for exact resume and `tracking` for TensorBoard.

    from star.ppo.trainer import PpoTrainer
"""
