"""Text classifiers: word vectors, a gated recurrent unit (GRU) of our own, and a linear layer.

``nn.GRU`` can be neither batched by ``torch.func.vmap`` (pytorch#134606) nor compiled into one graph. The GRU here is a
loop over time of ordinary operations: it can be both, computes the same, and is as fast on a CPU.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PADDING = 0
"""Token id that fills up short texts at their ends."""

Pooling = Literal["last", "mean", "max"]


class Gru(nn.Module):
    """One layer of gated recurrent units with the equations, parameters and initialisation of ``nn.GRU``.

    A ``state_dict`` of ``nn.GRU`` with one layer and biases loads into it, and the other way round. With sigma the
    logistic function and h the state, which is 0 at the beginning:

        r = sigma(W_ir x + b_ir + W_hr h + b_hr)            z = sigma(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r * (W_hn h + b_hn))       h <- (1 - z) * n + z * h

    Source: Cho et al. 2014 (arXiv 1406.1078), with the reset gate applied after the product, as in cuDNN.
    """

    def __init__(self, input_size: int, hidden_size: int, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self._bidirectional = bidirectional
        gates = 3 * hidden_size
        for suffix in ("", "_reverse") if bidirectional else ("",):
            self.register_parameter(f"weight_ih_l0{suffix}", nn.Parameter(torch.empty(gates, input_size)))
            self.register_parameter(f"weight_hh_l0{suffix}", nn.Parameter(torch.empty(gates, hidden_size)))
            self.register_parameter(f"bias_ih_l0{suffix}", nn.Parameter(torch.empty(gates)))
            self.register_parameter(f"bias_hh_l0{suffix}", nn.Parameter(torch.empty(gates)))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(hidden_size), 1 / math.sqrt(hidden_size))

    def forward(self, inputs: Tensor, padding: Tensor) -> list[list[Tensor]]:
        """Runs over texts; the reverse direction, where there is one, from a text's last real step to its first.

        Args:
            inputs: (L, N, input_size) float, time first, L >= 1.
            padding: (L, N) bool, True where a text has ended; the state does not change there.

        Returns:
            For each direction and time the states (N, hidden_size) after this step, that is, of what was read so far.
        """
        forwards = self._scan(inputs, padding, "")
        return [forwards, self._scan(inputs, padding, "_reverse")[::-1]] if self._bidirectional else [forwards]

    def _scan(self, inputs: Tensor, padding: Tensor, suffix: str) -> list[Tensor]:
        """The states (N, hidden_size) of one direction, in the order in which it meets them."""
        gates = [2 * self.hidden_size, self.hidden_size]  # r and z, which one product gives; n
        weight_rz, weight_n = getattr(self, f"weight_ih_l0{suffix}").split(gates)
        bias_rz, bias_n = getattr(self, f"bias_ih_l0{suffix}").split(gates)
        state_weight_rz, state_weight_n = getattr(self, f"weight_hh_l0{suffix}").split(gates)
        state_bias_rz, state_bias_n = getattr(self, f"bias_hh_l0{suffix}").split(gates)

        of_inputs_rz = F.linear(inputs, weight_rz, bias_rz + state_bias_rz)  # for all times at once
        of_inputs_n = F.linear(inputs, weight_n, bias_n)
        dtype = of_inputs_n.dtype  # under autocast not that of the parameters, which it would cast again at every step
        to_rz, to_n, state_bias_n = (part.to(dtype) for part in (state_weight_rz.t(), state_weight_n.t(), state_bias_n))

        steps = list(zip(of_inputs_rz.unbind(), of_inputs_n.unbind(), padding.unsqueeze(-1).unbind(), strict=True))
        state = of_inputs_n.new_zeros(of_inputs_n.shape[1:])
        states = []
        for step_rz, step_n, ended in reversed(steps) if suffix else steps:
            r, z = torch.addmm(step_rz, state, to_rz).sigmoid().chunk(2, -1)
            n = torch.addcmul(step_n, r, torch.addmm(state_bias_n, state, to_n)).tanh()
            state = torch.lerp(n, state, z.masked_fill(ended, 1))  # z = 1 keeps the state as it is
            states.append(state)
        return states


class TextClassifier(nn.Module):
    """Word vectors, a GRU, and a linear layer on its last states or on the mean or maximum of all of them."""

    def __init__(
        self,
        *,
        vocabulary: int,
        embedding_size: int,
        hidden_size: int,
        bidirectional: bool,
        pooling: Pooling,
        num_classes: int,
    ) -> None:
        """Draws the parameters as torch does by default.

        Args:
            vocabulary: Number of token ids, padding among them, >= 2.
            embedding_size: Length of a word vector.
            hidden_size: Units of the GRU in each direction.
            bidirectional: Read the text backwards, too.
            pooling: What the linear layer sees: the states after the last real step of each direction, or the mean or
                the maximum of the states at real steps.
            num_classes: C.
        """
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding_size, padding_idx=PADDING)
        self.gru = Gru(embedding_size, hidden_size, bidirectional=bidirectional)
        self.head = nn.Linear(hidden_size * (2 if bidirectional else 1), num_classes)
        self._pooling = pooling

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (N, C) for token ids (N, L) int32 or int64, 0 where a text has ended."""
        by_time = tokens.t()
        padding = by_time == PADDING
        directions = self.gru(self.embedding(by_time), padding)
        if self._pooling == "last":  # the reverse direction ends at time 0
            features = torch.cat([states[time] for states, time in zip(directions, (-1, 0), strict=False)], -1)
        else:
            features = _pooled(torch.cat([torch.stack(states) for states in directions], -1), padding, self._pooling)
        logits: Tensor = self.head(features)
        return logits


def _pooled(states: Tensor, padding: Tensor, pooling: Pooling) -> Tensor:
    """(N, D) mean or maximum over time of states (L, N, D) where there is no padding (L, N); 0 where all is padding."""
    ended = padding.unsqueeze(-1)
    if pooling == "mean":
        return states.masked_fill(ended, 0).sum(0) / (~ended).sum(0).clamp(min=1)
    return states.masked_fill(ended, -math.inf).amax(0).masked_fill(ended.all(0), 0)
