"""Loading, and one clear line for everything that cannot be loaded."""

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import (
    BertConfig,
    GPT2Config,
    JambaConfig,
    LlamaConfig,
    MambaConfig,
    PreTrainedTokenizerFast,
    Qwen3NextConfig,
    RecurrentGemmaConfig,
    RwkvConfig,
    T5Config,
)

from amusd.config import EngineConfig
from amusd.devices import DeviceSpec
from amusd.errors import AmusdError, InputError, ModelError
from amusd.models import (
    ModelSpec,
    Runner,
    cells_bytes,
    check_vocabularies,
    load_config,
    load_model,
    load_tokenizer,
)
from amusd.models import names as names_module
from amusd.models import sizes as sizes_module
from amusd.models.families import check_supported, mask_windows
from amusd.models.packing import has_bfloat16_products
from amusd.models.sizes import weights_bytes
from amusd.prompts import PromptReader
from tests.models.families import VOCABULARY, loaded_model, plain_model

CPU = DeviceSpec("cpu", (0,))


def tokenizer(words: dict[int, str] | None = None, end: str = "w2") -> PreTrainedTokenizerFast:
    """Tokens w0, w1, ... with some words replaced."""
    texts = {token: f"w{token}" for token in range(90)} | (words or {})
    vocabulary = {text: token for token, text in texts.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, end)), eos_token=end
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved tiny Llama with a tokenizer whose end token is not that of the generation configuration."""
    path = tmp_path_factory.mktemp("llama")
    plain_model("llama").to(torch.bfloat16).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def one_line(error: AmusdError) -> str:
    assert "\n" not in str(error)
    return str(error)


# -- what loads ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "loaded_dtype"),
    [("auto", torch.bfloat16), ("bfloat16", torch.bfloat16), ("float32", torch.float32)],
)
def test_facts_of_a_loaded_model(folder: Path, dtype: Any, loaded_dtype: torch.dtype) -> None:
    loaded = load_model(ModelSpec(str(folder), dtype), CPU, slots=2, context=256)
    assert loaded.weights_dtype == loaded_dtype
    assert loaded.dtype == loaded.model.dtype
    computed = torch.float32 if not has_bfloat16_products() else loaded_dtype
    assert loaded.dtype == computed, "a CPU without bfloat16 products computes in float32"
    assert ("computed in float32" in loaded.describe_dtype()) == (computed != loaded_dtype)
    assert (loaded.vocabulary_size, loaded.context, loaded.layers) == (VOCABULARY, 256, 2)
    assert loaded.end_tokens == {1, 2}, "of the generation configuration and of the tokenizer"
    assert loaded.exact and loaded.windows == {"full_attention": None}
    assert not loaded.model.training


def test_widened_while_loading(folder: Path) -> None:
    assert load_model(ModelSpec(str(folder), widen=640), CPU).config.intermediate_size == 640
    with pytest.raises(InputError, match=r"widen: 8: .* have 96 neurons already; give at least that"):
        load_model(ModelSpec(str(folder), widen=8), CPU)


def test_a_tokenizer_comes_with_its_model(folder: Path) -> None:
    assert load_tokenizer(str(folder)).eos_token == "w2"


def test_cells_and_weights_are_as_large_as_was_said_before_loading(folder: Path) -> None:
    config = load_config(ModelSpec(str(folder)))
    loaded = loaded_model("llama", torch.bfloat16)
    assert weights_bytes(config, torch.bfloat16) == sum(p.nbytes for p in loaded.model.parameters())
    runner = Runner(loaded, slots=2, context=64, spare_cells=16, block=64)
    runner.open(), runner.open()
    runner.prefill(1, [5] * 70, 0, 0)
    scratch = 8 / 128
    expected = cells_bytes(config, 2, 64, torch.bfloat16, block=64, spare_cells=16)
    assert runner.bytes_total == expected * (1 + scratch)
    assert "2 slots of 64 positions" in runner.describe()


def test_masks_by_layer_type() -> None:
    assert mask_windows(loaded_model("mistral").config) == {"full_attention": None}
    assert mask_windows(loaded_model("mistral-window").config) == {"sliding_attention": 11}
    assert mask_windows(loaded_model("gemma3").config) == {"full_attention": None, "sliding_attention": 11}


def test_experts_run_as_products_whose_rows_do_not_depend_on_each_other() -> None:
    for family in ("mixtral", "qwen2-moe"):
        loaded = loaded_model(family)
        assert loaded.exact and loaded.config._experts_implementation == "batched_mm"


# -- what does not -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/no/such/folder", "target: /no/such/folder: no such folder; give an existing one, or a hub id"),
        ("./nowhere", "target: ./nowhere: no such folder"),
        ("bad name!!", "target: bad name!!: neither a folder nor a hub id such as owner/name"),
    ],
)
def test_a_wrong_name(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_model(ModelSpec(name), CPU)
    assert one_line(caught.value).startswith(message)


def test_a_folder_without_configuration(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"draft: .*: the folder has no config.json"):
        load_tokenizer(str(tmp_path), "draft")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"its config.json cannot be used \(.* not a valid JSON file\); mend it, or give another model"),
        ("[1]", r"its config.json cannot be used \(.*\); mend it, or give another model"),
        ('{"hidden_size": 8}', "its config.json names no model_type; give a causal language model"),
        (
            '{"model_type": "frob"}',
            r"transformers \S+ does not know its model_type frob; update transformers, or give another model",
        ),
        (
            '{"model_type": "llama", "hidden_size": "big"}',
            r"its config.json cannot be used \(.*hidden_size.*\); mend it, or give another model",
        ),
        (
            '{"model_type": "frob", "auto_map": {"AutoConfig": "frob.Frob"}}',
            "it comes with its own code; set trust_remote_code if you trust it, or give another model",
        ),
    ],
)
def test_a_broken_configuration_is_blamed_by_role_and_name(
    content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=f"^draft: {tmp_path}: {message}$") as caught:
        PromptReader(EngineConfig(draft=str(tmp_path)))
    one_line(caught.value)
    assert caught.value.__cause__ is not None


def test_a_model_without_a_tokenizer(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(
        ModelError,
        match=rf"^target: {tmp_path}: its tokenizer cannot be loaded; give a model with .* \(.{{,203}}\)$",
    ) as caught:
        PromptReader(EngineConfig(target=str(tmp_path), draft="none"))
    one_line(caught.value)


def test_offline_and_not_in_the_cache() -> None:
    with pytest.raises(
        ModelError, match=r"draft: owner/name: not in the local cache, and HF_HUB_OFFLINE is set"
    ):
        load_model(ModelSpec("owner/name", role="draft"), CPU)


def test_an_unreachable_hub_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError("name resolution failed")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(names_module.huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(
        ModelError, match=r"owner/name: no such folder, and https?://\S+ cannot be reached"
    ) as caught:
        load_model(ModelSpec("owner/name"), CPU)
    assert isinstance(caught.value.__cause__, ConnectionError)
    one_line(caught.value)


def test_a_model_without_its_files(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ModelError) as caught:
        load_model(ModelSpec(str(tmp_path)), CPU)
    assert one_line(caught.value).startswith(f"target: {tmp_path}: its weights cannot be loaded (")


def test_weights_that_are_no_weights(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").write_text("what?")
    with pytest.raises(
        ModelError, match=r"^target: \S+: its weights cannot be loaded \(.*\); check its files"
    ):
        load_model(ModelSpec(str(tmp_path)), CPU)


def test_a_body_without_its_head(tmp_path: Path) -> None:
    plain_model("llama").model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"its files lack lm_head.weight; give a causal language model"):
        load_model(ModelSpec(str(tmp_path)), CPU)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            MambaConfig(),
            "draft: m: mamba has linear_attention layers, whose recurrent state cannot roll back",
        ),
        (
            JambaConfig(),
            "draft: m: jamba has linear_attention layers, whose recurrent state cannot roll back",
        ),
        (RwkvConfig(), "draft: m: rwkv has rwkv layers, whose recurrent state cannot roll back"),
        (Qwen3NextConfig(), "draft: m: qwen3_next has linear_attention layers"),
        (RecurrentGemmaConfig(), "draft: m: recurrent_gemma has linear_attention layers"),
        (
            LlamaConfig(layer_types=["chunked_attention"] * 32),
            "draft: m: llama has chunked_attention layers, which are not supported; give a model",
        ),
        (T5Config(), "draft: m: t5 is an encoder-decoder; give a causal language model"),
        (BertConfig(architectures=["BertForMaskedLM"]), "draft: m: its files hold a BertForMaskedLM"),
        (
            GPT2Config(architectures=["GPT2ForTokenClassification"]),
            "draft: m: its files hold a GPT2ForTokenClassification",
        ),
    ],
)
def test_what_cannot_be_run_as_trees_is_refused_by_name(config: Any, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        check_supported(config, "m", "draft")
    assert one_line(caught.value).startswith(message)


def test_a_context_beyond_the_model(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"max_model_len: 257: the target .* holds 256 positions; give at most that"
    ):
        load_model(ModelSpec(str(folder)), CPU, context=257)
    with pytest.raises(InputError, match="max_model_len: 257: the target llama holds 256 positions"):
        Runner(loaded_model("llama"), slots=1, context=257)


def test_what_does_not_fit_is_refused_before_loading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes_module, "available_bytes", lambda devices: 2**20)
    with pytest.raises(
        ModelError, match=r"^target: \S+: does not fit on cpu:0: .* lower max_model_len, take"
    ) as caught:
        load_model(ModelSpec(str(folder)), CPU, slots=8, context=256)
    one_line(caught.value)
    monkeypatch.setattr(sizes_module, "available_bytes", lambda devices: 2**10)
    with pytest.raises(ModelError, match="free; take more memory or devices, or a smaller model"):
        load_model(ModelSpec(str(folder)), CPU, slots=8, context=256)


def test_too_many_requests() -> None:
    runner = Runner(loaded_model("llama"), slots=1, context=16)
    runner.open()
    with pytest.raises(InputError, match="max_requests: 1: all slots are in use"):
        runner.open()


# -- vocabularies --------------------------------------------------------------------------------


def test_vocabularies_that_differ_by_padding_alone_are_compatible() -> None:
    check_vocabularies(tokenizer(), 90, tokenizer(), 128)


def test_a_different_vocabulary_is_named() -> None:
    draft = tokenizer({7: "seven", 9: "nine", 90: "extra"})
    with pytest.raises(InputError) as caught:
        check_vocabularies(tokenizer(), 90, draft, 91, draft_name="tiny")
    assert one_line(caught.value) == (
        "draft: tiny: its vocabulary has 91 tokens, the target's 90, 3 differ: 7 is 'seven' (target: 'w7'), "
        "9 is 'nine' (target: 'w9'), 90 is 'extra' (target: missing); "
        "give a draft with the target's tokenizer"
    )


def test_a_draft_with_fewer_rows_than_tokens() -> None:
    with pytest.raises(InputError, match="draft: draft: it has 64 token rows, its vocabulary 90 tokens"):
        check_vocabularies(tokenizer(), 90, tokenizer(), 64)
