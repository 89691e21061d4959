"""What is true of some of transformers' model types, where a configuration does not say it."""

ENCODERS = (
    "albert",
    "bert",
    "big_bird",
    "camembert",
    "canine",
    "convbert",
    "data2vec-text",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "ernie",
    "esm",
    "esmc",
    "eurobert",
    "flaubert",
    "fnet",
    "funnel",
    "gte",
    "ibert",
    "jina_embeddings_v3",
    "layoutlm",
    "layoutlmv2",
    "layoutlmv3",
    "lilt",
    "longformer",
    "luke",
    "markuplm",
    "megatron-bert",
    "mobilebert",
    "modernbert",
    "modernvbert",
    "mpnet",
    "mra",
    "neomme",
    "nomic_bert",
    "nystromformer",
    "perceiver",
    "reformer",
    "rembert",
    "roberta",
    "roberta-prelayernorm",
    "roc_bert",
    "roformer",
    "squeezebert",
    "tapas",
    "ultrabert",
    "ultravbert",
    "xlm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
    "yoso",
)
"""They read in both directions, unless the configuration says that this one is a decoder."""

WITHOUT_ATTENTION = ("mamba2", "xlstm")
"""The heads they count are those of a recurrence."""

_LANGUAGE_HEADS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_OTHER_HEADS = (
    "ForMaskedLM",
    "ForMultipleChoice",
    "ForNextSentencePrediction",
    "ForPreTraining",
    "ForSequenceClassification",
    "ForTokenClassification",
)
_GENERATING_MODELS = ("BarkModel", "DecoderModel", "MTModel", "SeamlessM4TModel", "SeamlessM4Tv2Model")


def generates_text(architecture: str | None) -> bool | None:
    """Return whether a class of transformers has a language head, told by its name; None where that tells nothing."""
    if architecture is None:
        return None
    if architecture.endswith(_LANGUAGE_HEADS):
        return True
    if architecture.endswith(_OTHER_HEADS):
        return False
    return False if architecture.endswith("Model") and not architecture.endswith(_GENERATING_MODELS) else None
