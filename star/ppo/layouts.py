"""Where actor, critic and reference live: on one backbone with adapters (hydra), or as three models (full).

Hydra (Santacroce et al., arXiv 2309.00754): the backbone is frozen and held once; the actor is a LoRA adapter, the
critic an adapter of its own with a value head, the reference the backbone with its adapters off. Dropout is off
everywhere: a ratio of new to old policy must be 1 before the first update. With adapters on the upper layers alone,
the layers below are run once for all roles (`star/ppo/trunk.py`).
"""

from __future__ import annotations

import copy
from typing import Any, Protocol

import torch

from star.checkpoints import LoadedModel
from star.ppo.config import PpoConfig
from star.ppo.trunk import Trunk


class Layout(Protocol):
    """The three models of PPO.

    Inputs are ids, attention mask and positions, each [B, T]. Logits are given at the last `keep` positions, all if it
    is 0: those of a prompt are of no use, and with a large vocabulary most of the memory.
    """

    actor_weights: dict[str, torch.nn.Parameter]
    """What the policy loss trains, by name."""
    critic_weights: dict[str, torch.nn.Parameter]
    """What the value loss trains, by name; none of them is in `actor_weights`."""

    @property
    def device(self) -> torch.device:
        """Where inputs belong."""

    def actor(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, keep: int = 0) -> torch.Tensor:
        """Logits of the policy, [B, keep, V]."""

    def reference(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, keep: int = 0) -> torch.Tensor:
        """Logits of the model that training began with, [B, keep, V], without a gradient."""

    def critic(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Value of the state after each token, [B, T]."""

    def sampler(self) -> LoadedModel:
        """The policy as a model to draw from; shares its weights, so it is always current."""

    def merged(self) -> LoadedModel:
        """A copy of the policy as a plain model, to be saved or served."""


class ValueHead(torch.nn.Module):
    """A linear read-out in float32 that starts at zero, so that the first advantages are the rewards alone.

    Args:
        width: of the hidden state.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(width))
        self.bias = torch.nn.Parameter(torch.zeros(1))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[B, T, H] to [B, T]."""
        return hidden.float() @ self.weight + self.bias


def _inputs(ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> dict[str, Any]:
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "use_cache": False}


def _logits(model: Any, inputs: dict[str, Any], keep: int) -> torch.Tensor:
    return torch.as_tensor(model(**inputs, logits_to_keep=keep).logits)


def _trainable(module: torch.nn.Module, part: str = "") -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in module.named_parameters() if part in name}


class HydraLayout:
    """One frozen backbone, two adapters, a value head.

    Args:
        loaded: the model to be trained and its tokenizer; its linear layers are wrapped in place.
        rank: rank of both adapters.
        seed: seed of the adapters' first weights.
        trained_layers: how many of the upper decoder layers have adapters; 0: all.

    Raises:
        UserError: the model has fewer layers, or one that cannot be cut there.
    """

    def __init__(self, loaded: LoadedModel, *, rank: int, seed: int, trained_layers: int = 0) -> None:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(seed)
        self._loaded = loaded
        model = loaded.model.requires_grad_(False).eval()
        self._trunk = Trunk(model, trained_layers)
        settings = {"r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.0, "exclude_modules": self._trunk.outside}
        self._peft = get_peft_model(model, LoraConfig(target_modules="all-linear", **settings), adapter_name="actor")
        # "all-linear" would wrap the actor's own matrices a second time.
        names = self._peft.peft_config["actor"].target_modules
        self._peft.add_adapter("critic", LoraConfig(target_modules=names, **settings))
        self._peft.eval()
        self._causal = self._peft.get_base_model()
        self._head = ValueHead(model.config.get_text_config().hidden_size).to(model.device)
        self.actor_weights = _trainable(self._peft, ".actor.")
        self.critic_weights = {**_trainable(self._peft, ".critic."), **_trainable(self._head)}
        self._trunk.check(self.actor)

    def _use(self, adapter: str) -> None:
        # Walks over all modules, which takes as long as a small model's forward pass.
        if self._peft.active_adapter != adapter:
            self._peft.set_adapter(adapter)

    @property
    def device(self) -> torch.device:
        """Where inputs belong."""
        return torch.device(self._causal.device)

    def actor(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, keep: int = 0) -> torch.Tensor:
        """Logits of the policy, [B, keep, V]."""
        self._use("actor")
        with self._trunk.shared(ids, mask, positions):
            return _logits(self._causal, _inputs(ids, mask, positions), keep)

    @torch.no_grad()
    def reference(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, keep: int = 0) -> torch.Tensor:
        """Logits of the backbone with its adapters off, [B, keep, V]."""
        with self._peft.disable_adapter(), self._trunk.shared(ids, mask, positions):
            return _logits(self._causal, _inputs(ids, mask, positions), keep)

    def critic(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Value of the state after each token, [B, T]."""
        return torch.as_tensor(self._head(self._hidden("critic", ids, mask, positions)))

    def _hidden(self, adapter: str, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Last hidden states of the backbone with an adapter, [B, T, H]."""
        self._use(adapter)
        with self._trunk.shared(ids, mask, positions):
            return torch.as_tensor(self._causal.base_model(**_inputs(ids, mask, positions)).last_hidden_state)

    def sampler(self) -> LoadedModel:
        """The policy as a model to draw from."""
        self._use("actor")
        return LoadedModel(self._causal, self._loaded.tokenizer, self._loaded.name, self._loaded.revision)

    def merged(self) -> LoadedModel:
        """A copy of the backbone with the actor merged into it."""
        plain = copy.deepcopy(self._peft).merge_and_unload(adapter_names=["actor"]).requires_grad_(False).eval()
        return LoadedModel(plain, self._loaded.tokenizer, self._loaded.name, self._loaded.revision)


class FullLayout:
    """Three models: actor and critic with every weight trained, and a frozen copy as reference; for comparison.

    Args:
        loaded: the model to be trained and its tokenizer; it becomes the actor.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._reference = copy.deepcopy(loaded.model).requires_grad_(False).eval()
        self._critic = copy.deepcopy(loaded.model.base_model).requires_grad_(True).eval()
        self._actor = loaded.model.requires_grad_(True).eval()
        self._head = ValueHead(loaded.model.config.get_text_config().hidden_size).to(loaded.model.device)
        self.actor_weights = {f"actor.{name}": weight for name, weight in _trainable(self._actor).items()}
        critic = {f"critic.{name}": weight for name, weight in _trainable(self._critic).items()}
        self.critic_weights = {**critic, **_trainable(self._head)}

    @property
    def device(self) -> torch.device:
        """Where inputs belong."""
        return torch.device(self._actor.device)

    def actor(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, keep: int = 0) -> torch.Tensor:
        """Logits of the policy, [B, keep, V]."""
        return _logits(self._actor, _inputs(ids, mask, positions), keep)

    @torch.no_grad()
    def reference(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, keep: int = 0) -> torch.Tensor:
        """Logits of the frozen copy, [B, keep, V]."""
        return _logits(self._reference, _inputs(ids, mask, positions), keep)

    def critic(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Value of the state after each token, [B, T]."""
        return torch.as_tensor(self._head(self._critic(**_inputs(ids, mask, positions)).last_hidden_state))

    def sampler(self) -> LoadedModel:
        """The policy as a model to draw from."""
        return self._loaded

    def merged(self) -> LoadedModel:
        """A copy of the actor."""
        plain = copy.deepcopy(self._actor).requires_grad_(False)
        return LoadedModel(plain, self._loaded.tokenizer, self._loaded.name, self._loaded.revision)


def build_layout(loaded: LoadedModel, config: PpoConfig, *, seed: int) -> Layout:
    """The layout that the config names; the model is changed in place.

    Raises:
        UserError: `trained_layers` does not fit the model.
    """
    if config.layout == "hydra":
        return HydraLayout(loaded, rank=config.lora_rank, seed=seed, trained_layers=config.trained_layers)
    return FullLayout(loaded)
