"""Reading of published weights: the right ones exactly, anything else refused with its reason."""

import pytest
import torch

from learn2talk_core.errors import BadInput
from learn2talk_core.models.official import load_official, wav2lip_weights
from learn2talk_core.models.wav2lip import Wav2Lip


class Program(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_module_prefix_is_taken_off(tmp_path):
    torch.manual_seed(0)
    network = Wav2Lip(0.05)
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, "optimizer": {"step": 3}, "global_step": 5, "global_epoch": 1}, tmp_path / "w.pth")
    other = Wav2Lip(0.05)
    load_official(tmp_path / "w.pth", other)
    for key, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path):
    torch.jit.script(Program()).save(str(tmp_path / "w.pt"))
    with pytest.raises(BadInput, match="TorchScript archive, which is a program"):
        wav2lip_weights(tmp_path / "w.pt")


def test_a_page_saved_as_weights_is_refused(tmp_path):
    (tmp_path / "w.pth").write_text("<!DOCTYPE html><html>Quota exceeded</html>")
    with pytest.raises(BadInput, match="tensors and plain containers, found something else"):
        wav2lip_weights(tmp_path / "w.pth")


def test_half_a_download_is_refused(tmp_path):
    torch.save({"state_dict": {"module.a": torch.zeros(1000)}}, tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="Download it again"):
        wav2lip_weights(tmp_path / "w.pth")


def test_code_in_a_pickle_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    torch.save({"state_dict": Evil()}, tmp_path / "w.pth")
    with pytest.raises(BadInput, match="plain containers"):
        wav2lip_weights(tmp_path / "w.pth")
    assert not (tmp_path / "touched").exists()


def test_weights_of_another_network_and_no_file_are_refused(tmp_path):
    torch.save({"state_dict": {"module.a": torch.zeros(1)}}, tmp_path / "w.pth")
    with pytest.raises(BadInput, match="the weights of Wav2Lip at full size"):
        load_official(tmp_path / "w.pth", Wav2Lip(0.05))
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(BadInput, match="expected a state dict, found list"):
        wav2lip_weights(tmp_path / "list.pth")
    with pytest.raises(BadInput, match="found nothing"):
        wav2lip_weights(tmp_path / "none.pth")
