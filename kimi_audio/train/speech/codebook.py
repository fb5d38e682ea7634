"""A codebook that follows its vectors by exponential moving averages (van den Oord et al. 2017, appendix A.1).

The rules are those of the training branch of GLM-4-Voice's tokenizer. Shapes: M vectors, D channels, V codes.
"""

import torch
from torch import Tensor, nn

from kimi_audio.core.config import SemanticConfig


class EMACodebook(nn.Module):
    """Quantise, measure the commitment, move the codes, restart dead ones.

    Args:
        embedding: the tokenizer's codebook [V, D], changed in place and never by gradients.
        config: decay, commitment and restart settings.
    """

    ema_count: Tensor
    ema_weight: Tensor
    updates: Tensor

    def __init__(self, embedding: nn.Embedding, config: SemanticConfig):
        super().__init__()
        self.embedding = embedding.requires_grad_(False)
        self.config = config
        self.register_buffer("ema_count", torch.ones(config.num_codes))
        self.register_buffer("ema_weight", embedding.weight.detach().clone())
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def start(self, codes: Tensor, counts: Tensor) -> None:
        """Set the codes [V, D], and how often a batch chooses each [V]."""
        self.ema_count.copy_(counts.clamp(min=1e-2))
        self.ema_weight.copy_(codes * self.ema_count[:, None])
        self.embedding.weight.copy_(codes)

    @torch.no_grad()
    def move_rarest(self, vector: Tensor) -> int:
        """Put the code that is chosen least onto a vector [D], and return its number."""
        rarest = int(self.ema_count.argmin())
        self.embedding.weight[rarest] = vector
        self.ema_weight[rarest] = vector
        self.ema_count[rarest] = 1.0
        return rarest

    def forward(
        self, hidden: Tensor, valid: Tensor, generator: torch.Generator | None, *, restart: bool = True
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Replace vectors by their nearest codes.

        Args:
            hidden: [..., D].
            valid: [...] True where the vector counts.
            generator: draws the restarted codes; None leaves the codebook as it is.
            restart: dead codes may restart. What follows needs time to learn what a restarted code means, so the
                last steps of a training had better leave them dead.

        Returns:
            The codes' vectors with the gradient passed straight through, and "commit_loss" (scaled), "active_codes"
            and "perplexity".
        """
        flat = hidden.float()[valid]  # [M, D]
        with torch.no_grad(), torch.autocast(flat.device.type, enabled=False):  # bf16 would blur near codes
            distance = self.embedding.weight.square().sum(1) - 2 * flat.detach() @ self.embedding.weight.T
            codes = distance.argmin(1)
            nearest = self.embedding.weight[codes]
            counts = torch.bincount(codes, minlength=self.config.num_codes).float()
            usage = counts / counts.sum()
            perplexity = torch.exp(-(usage * (usage + 1e-10).log()).sum())
        commit = (flat - nearest).square().mean()
        quantised = hidden.float().clone()
        quantised[valid] = flat + (nearest - flat).detach()
        if generator is not None:
            self._update(flat.detach(), codes, counts)
            if restart and int(self.updates) % self.config.restart_interval_steps == 0:
                self._restart_dead_codes(flat.detach(), generator)
        statistics = {
            "commit_loss": self.config.loss_scale * self.config.commit_coefficient * commit,
            "active_codes": (counts > 0).sum(),
            "perplexity": perplexity,
        }
        return quantised, statistics

    @torch.no_grad()
    def _update(self, flat: Tensor, codes: Tensor, counts: Tensor) -> None:
        decay, num_codes = self.config.ema_decay, self.config.num_codes
        sums = torch.zeros_like(self.ema_weight).index_add_(0, codes, flat)
        self.ema_count.mul_(decay).add_(counts, alpha=1 - decay)
        total = self.ema_count.sum()
        self.ema_count.add_(1e-5).div_(total + num_codes * 1e-5).mul_(total)  # Laplace smoothing, stored back
        self.ema_weight.mul_(decay).add_(sums, alpha=1 - decay)
        self.embedding.weight.copy_(self.ema_weight / self.ema_count[:, None])
        self.updates += 1

    @torch.no_grad()
    def _restart_dead_codes(self, flat: Tensor, generator: torch.Generator) -> None:
        """Put codes that nothing chose for one interval onto random vectors of the batch."""
        dead = (self.ema_count < self.config.ema_decay**self.config.restart_interval_steps).nonzero()[:, 0]
        dead = dead[: len(flat)]  # with fewer vectors than dead codes, the rest waits for the next interval
        chosen = flat[torch.randperm(len(flat), generator=generator)[: len(dead)]]
        self.embedding.weight[dead] = chosen
        self.ema_weight[dead] = chosen
        self.ema_count[dead] = 1.0
