"""Contextual vectors and their separation: on vectors whose answer is known, and on the shipped model."""

import pytest
import torch
from torch.testing import assert_close

from attention_decoded.contexts import (
    contextual_vectors,
    mean_cosine,
    neighbours,
    occurrences,
    sense_separation,
    separations,
    usage_agreement,
)
from attention_decoded.masked_lm import MaskedLanguageModel, MaskedLanguageModelConfig

SENTENCES = [[5, 6, 7], [7, 8], [9, 7, 7, 6, 10]]


@pytest.fixture
def model() -> MaskedLanguageModel:
    return MaskedLanguageModel(
        MaskedLanguageModelConfig(n_vocab=31, d_model=14, n_heads=2, n_layers=2, d_ff=17, max_len=11, dropout=0.5)
    )


def test_occurrences_are_all_places() -> None:
    assert occurrences(SENTENCES, 7) == [(0, 2), (1, 0), (2, 1), (2, 2)]
    assert occurrences(SENTENCES, 11) == []


def test_vectors_are_the_streams_at_the_places(model: MaskedLanguageModel) -> None:
    vectors = contextual_vectors(model.train(), SENTENCES, [(2, 1), (0, 2)], depth=1)
    assert model.training  # given back as it came, but read without dropout
    model.eval()
    assert torch.equal(vectors[0], model.streams(torch.tensor([SENTENCES[2]]))[1][0, 1])
    assert torch.equal(vectors[1], model.streams(torch.tensor([SENTENCES[0]]))[1][0, 2])


def test_static_vectors_do_not_know_their_sentence_and_contextual_ones_do(model: MaskedLanguageModel) -> None:
    places = [(0, 0), (1, 0)]
    static = contextual_vectors(model, [[5, 6], [5, 8]], places, depth=0)
    after = contextual_vectors(model, [[5, 6], [5, 8]], places)
    assert torch.equal(static[0], static[1])
    assert not torch.allclose(after[0], after[1])


def test_batches_by_length_change_nothing(model: MaskedLanguageModel) -> None:
    sentences = [[5, 6, 7], [7, 8, 9], [9, 7], [11, 12, 13], [6, 5]]
    places = [(n, at) for n, sentence in enumerate(sentences) for at in range(len(sentence))][::-1]
    alone = torch.cat([contextual_vectors(model, sentences, [place]) for place in places])
    assert_close(contextual_vectors(model, sentences, places), alone)


def test_separations_are_ranked_and_agree_with_each_alone(model: MaskedLanguageModel) -> None:
    generator = torch.Generator().manual_seed(5)
    sentences = torch.randint(5, 11, (43, 7), generator=generator).tolist()
    found = separations(model, sentences, [5, 6, 7, 30], most=23)
    assert set(found) == {5, 6, 7}  # 30 never occurs
    assert [s.silhouette for s in found.values()] == sorted((s.silhouette for s in found.values()), reverse=True)
    alone = sense_separation(contextual_vectors(model, sentences, occurrences(sentences, 6)[:23]))
    assert alone.labels.equal(found[6].labels)
    assert alone.silhouette == found[6].silhouette


def test_mean_cosine_by_hand() -> None:
    a = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    assert mean_cosine(a) == pytest.approx((0 - 1 + 0) / 3)
    assert mean_cosine(a, torch.tensor([[5.0, 0.0]])) == pytest.approx((1 + 0 - 1) / 3)
    with pytest.raises(ValueError, match="at least two"):
        mean_cosine(a[:1])


def clouds(n: int, m: int, spread: float, generator: torch.Generator) -> torch.Tensor:
    centres = torch.zeros(2, 13)
    centres[0, 0] = centres[1, 1] = 1
    which = torch.tensor([0] * n + [1] * m)
    return centres[which] + spread * torch.randn(n + m, 13, generator=generator)


def test_two_clouds_are_found_whatever_their_order() -> None:
    generator = torch.Generator().manual_seed(1)
    vectors = clouds(11, 23, 0.05, generator)
    order = torch.randperm(34, generator=generator)
    for x, truth in ((vectors, torch.arange(34) < 11), (vectors[order], order < 11)):
        found = sense_separation(x)
        assert found.labels.equal(truth) or found.labels.equal(~truth)
        assert found.silhouette > 0.8
        assert found.within > 0.9 > 0.2 > abs(found.between)
        assert found.minority == pytest.approx(11 / 34)


def test_one_cloud_is_not_called_two() -> None:
    one = torch.randn(101, 13, generator=torch.Generator().manual_seed(2)) * 0.1 + torch.eye(13)[0]
    assert sense_separation(one).silhouette < 0.2


def test_silhouette_by_hand() -> None:
    """Two pairs at right angles, each pair 60° wide: a = 1 − cos 60°, b = mean over the other pair."""
    angles = torch.deg2rad(torch.tensor([0.0, 60.0, 180.0, 240.0]))
    found = sense_separation(torch.stack([angles.cos(), angles.sin()], 1))
    # From 0°: a = 0.5, b = ((1 + 1) + (1 + 0.5)) / 2 = 1.75; the others are alike or see 180° and 120° too.
    assert found.silhouette == pytest.approx((1.75 - 0.5) / 1.75)
    assert found.within == pytest.approx(0.5)
    assert found.between == pytest.approx(-0.75)


def test_length_does_not_matter_only_direction() -> None:
    generator = torch.Generator().manual_seed(3)
    vectors = clouds(7, 5, 0.1, generator)
    longer = vectors * torch.rand(12, 1, generator=generator).add(0.1)
    assert_close(sense_separation(longer).silhouette, sense_separation(vectors).silhouette)


def test_too_few_or_equal_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="3 vectors are too few"):
        sense_separation(torch.randn(3, 5))
    with pytest.raises(ValueError, match="all alike"):
        sense_separation(torch.ones(7, 5))


def test_neighbours_are_nearest_first() -> None:
    vectors = torch.tensor([[0.0, 1.0], [1.0, 1.0], [9.0, 1.0], [-1.0, 0.0]])
    assert neighbours(torch.tensor([1.0, 0.0]), vectors, 3).tolist() == [2, 1, 0]


def test_usage_agreement_by_hand() -> None:
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.3, 1.0], [1.0, 0.9]])
    assert usage_agreement(vectors, ["a", "a", "b", "b", "b"]) == 1.0
    # The last is nearest to the fourth, which is then of the other usage; nobody is nearest to the last.
    assert usage_agreement(vectors, ["a", "a", "b", "b", "a"]) == 4 / 5
    with pytest.raises(ValueError, match="4 labels for 5 vectors"):
        usage_agreement(vectors, ["a", "a", "b", "b"])


# ── the shipped model, on sentences of our own that its corpus does not hold ────────────────────

USAGES = {
    "花": {
        "spend": "她花了半年写这本小说。 他花光了所有的钱。 修车花了我一百块。 你在这件衣服上花了多少钱？"
        " 我每天花两个小时学习英语。 我们花了一整天找他。",
        "flower": "妈妈种了一些花。 这束花送给你。 春天花都开了。 他买了很多花。 这朵花真漂亮。 桌子上有一些花。",
    },
    "只": {
        "animal": "我家附近有一只小猫。 她养了三只兔子。 门口那只狗在叫。 这只鸟会唱歌。 他有两只狗。 树上有一只鸟。",
        "only": "他只剩下一块钱。 我们只懂一点点中文。 她只爱喝绿茶。 他今晚只想看电视。 我只喝水。 他只买了一本书。",
    },
    "信": {
        "letter": "我给妈妈写了一封信。 请把这封信寄给他。 邮局把信弄丢了。 爸爸正在读那封信。"
        " 昨天我寄了两封信。 我收到了你的信。",
        "believe": "我不信他的话。 你信不信我？ 她从来不信鬼。 没有人信她。 他说什么我都信。 你怎么信他的鬼话？",
    },
    "意思": {
        "meaning": "他懂我的意思。 这句话的意思是什么？ 老师给我们讲了这个字的意思。 你明白这首诗的意思吗？",
        "interest": "这个电影真有意思。 你的工作有意思吗？ 学中文很有意思。 跟他聊天很有意思。",
    },
}


@pytest.fixture(scope="module")
def shipped():
    from attention_decoded.recipes.masked_lm import load

    return load()


def test_own_sentences_are_not_in_the_corpus() -> None:
    from attention_decoded.data.normalize import near_key
    from attention_decoded.data.pairs import load_splits

    splits = load_splits()
    corpus = {near_key(pair.zh) for pair in (*splits.train, *splits.validation, *splits.test)}
    own = {near_key(s) for usages in USAGES.values() for sentences in usages.values() for s in sentences.split()}
    assert len(own) == sum(len(sentences.split()) for usages in USAGES.values() for sentences in usages.values())
    assert not own & corpus


@pytest.mark.parametrize("word", USAGES)
def test_shipped_model_tells_usages_apart(word: str, shipped) -> None:
    """One word, two usages: a contextual vector's nearest neighbour shares its usage; a static vector's need not."""
    from attention_decoded.data.tokenization import encode

    model, tokenizer, _ = shipped
    usages = [usage for usage, sentences in USAGES[word].items() for _ in sentences.split()]
    sentences = list(encode(tokenizer, [s for group in USAGES[word].values() for s in group.split()]))
    places = [(n, ids.index(tokenizer.token_to_id(word))) for n, ids in enumerate(sentences)]
    static, contextual = (contextual_vectors(model, sentences, places, depth=depth) for depth in (0, -1))
    assert usage_agreement(contextual, usages) >= 0.9
    assert usage_agreement(static, usages) <= 0.7
    half = usages.index(usages[-1])
    assert mean_cosine(contextual[:half], contextual[half:]) < mean_cosine(contextual) - 0.05


def test_shipped_model_does_not_tell_two_greetings_apart(shipped) -> None:
    """The article's own example: the corpus has 美女 in about ten sentences, and the book says that this is too few."""
    from attention_decoded.data.tokenization import encode

    model, tokenizer, _ = shipped
    sentences = list(encode(tokenizer, ["美女，加个微信吧。", "美女，麻烦让一下。"]))
    assert [tokenizer.id_to_token(i) for i in sentences[0][:2]] == ["美", "女"]
    for at in (0, 1):
        vectors = contextual_vectors(model, sentences, [(0, at), (1, at)])
        assert mean_cosine(vectors) > 0.8
