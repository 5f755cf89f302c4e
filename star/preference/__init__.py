"""Preference baselines on the data of a run: what PPO against step rewards is compared with.

Pure functions: `losses`. Data: `pairs` of a right and a wrong solution of one problem, cut at what they share. Models:
`training` (DPO, step-DPO, CPL of a policy) and `reward_model` (Bradley-Terry; the classic SFT, reward model, PPO).
"""
