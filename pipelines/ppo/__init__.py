"""PPO as a job of its own."""
