// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/pretokenizer.h"
#include "engine/tokenizer/regex.h"
#include "engine/tokenizer/utf8.h"
#include "tests/engine/tokenizer/tokenizers.h"

namespace decant::test {

namespace {

using Strings = std::vector<std::string>;
using tokenizer::PreTokenizerPtr;
using tokenizer::SplitBehavior;

std::string normalized(const tokenizer::NormalizerPtr& normalizer, std::string text) {
  REQUIRE(normalizer->apply(text).ok());
  return text;
}

Strings pieces(const PreTokenizerPtr& pretokenizer, std::string_view text, bool from_start = true) {
  tokenizer::PreTokens tokens{std::string(text), {{0, text.size()}}, from_start};
  REQUIRE(pretokenizer->apply(tokens).ok());
  Strings out;
  for (const tokenizer::Piece& piece : tokens.pieces) out.emplace_back(tokens.view(piece));
  return out;
}

tokenizer::Pattern regex(std::string_view text) {
  Result<tokenizer::Pattern> pattern = tokenizer::Pattern::regex(text);
  REQUIRE_MESSAGE(pattern.ok(), pattern.error().message);
  return std::move(*pattern);
}

Strings matches(std::string_view pattern, std::string_view text) {
  std::vector<tokenizer::Match> found;
  REQUIRE(regex(pattern).find_all(text, found).ok());
  Strings out;
  for (const tokenizer::Match& match : found) out.emplace_back(text.substr(match.begin, match.end - match.begin));
  return out;
}

Strings split(std::string_view pattern, SplitBehavior behavior, bool invert, std::string_view text) {
  return pieces(tokenizer::split_pretokenizer(regex(pattern), behavior, invert), text);
}

}  // namespace

TEST_CASE("normalizer: the four Unicode forms compose, decompose and order marks") {
  using tokenizer::UnicodeForm;
  CHECK(normalized(tokenizer::unicode_normalizer(UnicodeForm::nfc), "e\u0301 \u1112\u1161\u11ab \ufb01") ==
        "\u00e9 \ud55c \ufb01");
  CHECK(normalized(tokenizer::unicode_normalizer(UnicodeForm::nfd), "\u00e9 \ud55c \u212b") ==
        "e\u0301 \u1112\u1161\u11ab A\u030a");
  CHECK(normalized(tokenizer::unicode_normalizer(UnicodeForm::nfkc), "\ufb01 \u00bd \u2460") == "fi 1\u20442 1");
  CHECK(normalized(tokenizer::unicode_normalizer(UnicodeForm::nfkd), "\ufb01\u00e9") == "fie\u0301");
  CHECK(normalized(tokenizer::unicode_normalizer(UnicodeForm::nfd), "a\u0301\u0323") == "a\u0323\u0301");
  CHECK(normalized(tokenizer::unicode_normalizer(UnicodeForm::nfc), std::string("a\0b\u0301", 5)) ==
        std::string("a\0b\u0301", 5));
}

TEST_CASE("normalizer: a long run of marks in reverse order takes no quadratic time") {
  std::string text = "a";
  for (int i = 0; i < 100'000; ++i) text += "\u0301\u0323";
  const std::string ordered = normalized(tokenizer::unicode_normalizer(tokenizer::UnicodeForm::nfd), text);
  CHECK(ordered.size() == text.size());
  CHECK(ordered.starts_with("a\u0323\u0323"));
  CHECK(ordered.ends_with("\u0301\u0301"));
}

TEST_CASE("normalizer: lower case, stripping, prepending and replacing do what their names say") {
  CHECK(normalized(tokenizer::lowercase_normalizer(), "ÀÉ \u0130 ΣΑΣ ẞ") == "àé i\u0307 σασ ß");
  CHECK(normalized(tokenizer::strip_normalizer(true, false), "\u3000 a b \n") == "a b \n");
  CHECK(normalized(tokenizer::strip_normalizer(false, true), " a b \u2003\n") == " a b");
  CHECK(normalized(tokenizer::strip_normalizer(true, true), " \t ").empty());
  CHECK(normalized(tokenizer::prepend_normalizer("_"), "a") == "_a");
  CHECK(normalized(tokenizer::prepend_normalizer("_"), "").empty());
  CHECK(normalized(tokenizer::replace_normalizer(regex(" {2,}"), " "), "a   b c  ") == "a b c ");
  CHECK(normalized(tokenizer::replace_normalizer(regex(""), "-"), "ab") == "-a-b-");
}

TEST_CASE("normalizer: a text that would grow beyond measure is refused") {
  tokenizer::Normalizers normalizers;
  normalizers.push_back(tokenizer::replace_normalizer(regex("."), std::string(100'000, 'x')));
  std::string text(100'000, 'a');
  const Status status = tokenizer::normalize(normalizers, text);
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().code == ErrorCode::unsupported);
}

TEST_CASE("regex: white space is that of Unicode, within classes and without") {
  for (const char* space :
       {"\t", "\v", "\u0085", "\u00a0", "\u1680", "\u2003", "\u2028", "\u202f", "\u205f", "\u3000"}) {
    CAPTURE(space);
    CHECK(matches("\\s", space).size() == 1);
    CHECK(matches("[^\\s]", space).empty());
    CHECK(matches("[\\S]", space).empty());
    CHECK(matches("\\S", space).empty());
  }
  for (const char* other : {"\u180e", "\u200b", "\ufeff", "\x1c", "a", "\U0001F642"}) {
    CAPTURE(other);
    CHECK(matches("\\s", other).empty());
    CHECK(matches("[\\S]", other).size() == 1);
  }
}

TEST_CASE("regex: Oniguruma's spellings mean what they mean there") {
  CHECK(matches("\\h+", "xBEEFy 0g") == Strings{"BEEF", "0"});
  CHECK(matches("\\p{Han}+", "ab漢字c") == Strings{"漢字"});
  CHECK(matches("\\p{^L}+", "ab12c") == Strings{"12"});
  CHECK(matches("\\p{Letter}+", "ab12c") == Strings{"ab", "c"});
  CHECK(matches("[\\w]+", "a_é\u0301-1") == Strings{"a_é\u0301", "1"});
  CHECK(matches("a{,2}b", "aaab") == Strings{"aab"});
  CHECK(matches("(?m:a.b)", "a\nb") == Strings{"a\nb"});
  CHECK(matches("a.b", "a\nb").empty());
  CHECK(matches("^b$", "a\nb\nc") == Strings{"b"});
  CHECK(matches("\\u0041", "xAx") == Strings{"A"});
  CHECK(matches("[]a]+", "x]ax") == Strings{"]a"});
  CHECK(matches("(?i:'s|'LL)", "'S 'll") == Strings{"'S", "'ll"});
  CHECK(matches("\\p{L}++x", "abx").empty());
  CHECK(matches("x*", "axb") == Strings{"", "x", ""});
}

TEST_CASE("regex: what cannot be rewritten or compiled is refused by name") {
  for (const char* pattern : {"[a-z&&[^b]]", "[a[b]]", "(", "[", "a{2,1}", "\\", "(*ACCEPT)", "[\\W]", "\\C",
                              "\\p{NoSuchThing}", "(?<=a+)b"}) {
    CAPTURE(pattern);
    const Result<tokenizer::Pattern> made = tokenizer::Pattern::regex(pattern);
    REQUIRE_FALSE(made.ok());
    CHECK(made.error().code == ErrorCode::unsupported);
    CHECK(made.error().message.find("regular expression") != std::string::npos);
  }
  CHECK_FALSE(tokenizer::Pattern::regex(std::string(100'000, 'a')).ok());
}

TEST_CASE("regex: one that backtracks without end gives an error, not a hang") {
  std::vector<tokenizer::Match> found;
  CHECK_FALSE(regex("(a|a)*b|(a*)*c").find_all(std::string(200, 'a'), found).ok());
}

TEST_CASE("regex: a long run in a repeated group matches as a whole") {
  std::vector<tokenizer::Match> found;
  REQUIRE(regex("(?:a|b)+").find_all(std::string(200'000, 'a'), found).ok());
  CHECK(found.size() == 1);
}

TEST_CASE("pretokenizer: a split treats matches as its behavior says") {
  CHECK(split("-", SplitBehavior::isolated, false, "the-final--countdown") ==
        Strings{"the", "-", "final", "-", "-", "countdown"});
  CHECK(split("-", SplitBehavior::removed, false, "the-final--countdown") == Strings{"the", "final", "countdown"});
  CHECK(split("-", SplitBehavior::merged_with_previous, false, "the-final--countdown") ==
        Strings{"the-", "final-", "-", "countdown"});
  CHECK(split("-", SplitBehavior::merged_with_next, false, "the-final--countdown") ==
        Strings{"the", "-final", "-", "-countdown"});
  CHECK(split("-", SplitBehavior::contiguous, false, "the-final--countdown") ==
        Strings{"the", "-", "final", "--", "countdown"});
  CHECK(split("\\w+", SplitBehavior::removed, true, "a, b") == Strings{"a", "b"});
  CHECK(split("\\w+", SplitBehavior::isolated, true, "a, b") == Strings{"a", ", ", "b"});
}

TEST_CASE("pretokenizer: character classes cut where Unicode says") {
  CHECK(pieces(tokenizer::character_pretokenizer(tokenizer::is_numeric, SplitBehavior::isolated), "a12½b") ==
        Strings{"a", "1", "2", "½", "b"});
  CHECK(pieces(tokenizer::character_pretokenizer(tokenizer::is_numeric, SplitBehavior::contiguous), "a12½b") ==
        Strings{"a", "12½", "b"});
  CHECK(pieces(tokenizer::character_pretokenizer(tokenizer::is_punctuation, SplitBehavior::isolated), "a+b「c") ==
        Strings{"a", "+", "b", "「", "c"});
  CHECK(pieces(tokenizer::whitespace_pretokenizer(), " Hey, you_1!?\u3000né") ==
        Strings{"Hey", ",", "you_1", "!?", "né"});
  CHECK(pieces(tokenizer::character_pretokenizer(tokenizer::is_white_space, SplitBehavior::removed), " a,\u2003 b") ==
        Strings{"a,", "b"});
}

TEST_CASE("pretokenizer: Metaspace prepends to the input, to each piece or to none") {
  using tokenizer::PrependScheme;
  const auto metaspace = [](PrependScheme scheme, bool cut) {
    return tokenizer::metaspace_pretokenizer("▁", scheme, cut);
  };
  CHECK(pieces(metaspace(PrependScheme::first, true), "a b  c") == Strings{"▁a", "▁b", "▁", "▁c"});
  CHECK(pieces(metaspace(PrependScheme::first, true), "a b", false) == Strings{"a", "▁b"});
  CHECK(pieces(metaspace(PrependScheme::always, true), "a b", false) == Strings{"▁a", "▁b"});
  CHECK(pieces(metaspace(PrependScheme::always, false), " a b") == Strings{"▁a▁b"});
  CHECK(pieces(metaspace(PrependScheme::never, false), "a b") == Strings{"a▁b"});
}

TEST_CASE("pretokenizer: ByteLevel writes bytes as printable characters and can begin with a space") {
  const auto byte_level = [](bool prefix, bool use_regex) {
    Result<PreTokenizerPtr> made = tokenizer::byte_level_pretokenizer(prefix, use_regex);
    REQUIRE(made.ok());
    return std::move(*made);
  };
  CHECK(pieces(byte_level(true, true), "a\n b") == Strings{"Ġa", "Ċ", "Ġb"});
  CHECK(pieces(byte_level(false, false), "a é") == Strings{"aĠÃ©"});
  CHECK(pieces(byte_level(false, false), std::string_view("\0\x7f", 2)) == Strings{"Āġ"});
}

TEST_CASE("added tokens: the leftmost, then the longest, is found, and the flags are kept") {
  using tokenizer::AddedToken;
  std::vector<AddedToken> tokens(6);
  tokens[0] = {.id = 0, .content = "<a>"};
  tokens[1] = {.id = 1, .content = "<a>b"};
  tokens[2] = {.id = 2, .content = "[L]", .lstrip = true};
  tokens[3] = {.id = 3, .content = "[R]", .rstrip = true};
  tokens[4] = {.id = 4, .content = "word", .single_word = true};
  tokens[5] = {.id = 5, .content = "YES", .normalized = true};
  tokenizer::Normalizers normalizers;
  normalizers.push_back(tokenizer::lowercase_normalizer());
  const Result<tokenizer::AddedTokens> added = tokenizer::AddedTokens::make(tokens, normalizers);
  REQUIRE(added.ok());
  const auto sections = [&](std::string_view text, bool normalized_ones) {
    std::vector<tokenizer::TextSection> found;
    added->split(text, normalized_ones, found);
    Strings out;
    for (const tokenizer::TextSection& s : found)
      out.push_back((s.id < 0 ? "" : std::to_string(s.id) + ":") + std::string(text.substr(s.begin, s.end - s.begin)));
    return out;
  };
  CHECK(sections("x<a>b<a>c", false) == Strings{"x", "1:<a>b", "0:<a>", "c"});
  CHECK(sections("x \u2003[L] y", false) == Strings{"x", "2: \u2003[L]", " y"});
  CHECK(sections("x [R] \n[L]y", false) == Strings{"x ", "3:[R] \n", "2:[L]", "y"});
  CHECK(sections("word sword words (word)", false) == Strings{"4:word", " sword words (", "4:word", ")"});
  CHECK(sections("yes YES", true) == Strings{"5:yes", " YES"});
  CHECK(sections("", false).empty());
}

TEST_CASE("decoder: stages work on parts of tokens as they do on whole ones") {
  // Fuse hands parts on; what follows sees one token.
  const auto decoded = [](const std::string& decoders, const std::vector<int32_t>& ids) {
    const std::unique_ptr<Tokenizer> tokenizer = must_read(
        R"({"model": {"type": "BPE", "merges": [], "vocab": {"-": 0, "a": 1, "b": 2, "--a": 3, "ab": 4, "<0x": 5, "41>": 6, "▁": 7, "Ġ": 8, "a▁b": 9}}, "decoder":
        {"type": "Sequence", "decoders": [)" +
        decoders + "]}}");
    const std::string text = tokenizer->decode(ids);
    for (size_t cut = 0; cut <= ids.size(); ++cut) {
      const std::span<const int32_t> all(ids);
      const std::string before = tokenizer->decode(all.first(cut));
      if (text.starts_with(before)) CHECK(before + streamed(*tokenizer, all.first(cut), all.subspan(cut)) == text);
    }
    CHECK(streamed(*tokenizer, {}, ids) == text);
    return text;
  };
  const std::string fuse = R"({"type": "Fuse"})";
  CHECK(decoded(fuse + R"(, {"type": "Strip", "content": "-", "start": 2, "stop": 1})", {0, 3, 0, 0}) == "-a-");
  CHECK(decoded(R"({"type": "Strip", "content": "-", "start": 1, "stop": 0})", {0, 3, 0, 0}) == "-a");
  CHECK(decoded(fuse + R"(, {"type": "Replace", "pattern": {"String": "aba"}, "content": "X"})", {1, 4, 4, 1, 2}) ==
        "aXbab");
  CHECK(decoded(fuse + R"(, {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "X"})", {1, 1, 2, 1}) == "XbX");
  CHECK(decoded(fuse + R"(, {"type": "ByteFallback"})", {5, 6}) == "A");
  CHECK(decoded(fuse + R"(, {"type": "ByteFallback"})", {5, 6, 1, 1}) == "<0x41>aa");
  CHECK(decoded(fuse + R"(, {"type": "ByteLevel"})", {8, 1, 8}) == " a ");
  CHECK(decoded(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"})", {9, 9}) == "aba b");
  CHECK(decoded(R"({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never"})", {7, 9}) == " a b");
  CHECK(decoded(R"({"type": "Metaspace", "replacement": "▁", "add_prefix_space": false})", {7, 9}) == " a b");
}

TEST_CASE("decoder: without one, tokens are joined by spaces") {
  const std::unique_ptr<Tokenizer> tokenizer =
      must_read(R"({"model": {"type": "BPE", "merges": [], "vocab": {"a": 0, "b": 1}}})");
  CHECK(tokenizer->decode(std::vector<int32_t>{0, 1, 1}) == "a b b");
  CHECK(streamed(*tokenizer, std::vector<int32_t>{0}, std::vector<int32_t>{1, 1}) == " b b");
}

}  // namespace decant::test
