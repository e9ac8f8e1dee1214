// SPDX-License-Identifier: Apache-2.0
// Each allocation of a call fails once: the call says so, changes nothing, and leaks nothing.
#include "tests/api/c_api_case.h"
#include "tests/support/failing_new.h"

namespace decant::test {

namespace {

/// What was taken while it lives and not given back.
class NothingLeaks {
 public:
  NothingLeaks(const NothingLeaks&) = delete;
  NothingLeaks& operator=(const NothingLeaks&) = delete;
  NothingLeaks() = default;
  ~NothingLeaks() { CHECK(n_live_allocations() == before_); }

 private:
  int64_t before_ = (shared_c_model(), n_live_allocations());
};

/// try_it: a call. Returns how many of its allocations failed, each of them once.
template <typename Call>
int64_t fail_each(const Call& try_it) {
  for (int64_t n = 0;; ++n) {
    decant_status status = DECANT_OK;
    decant_error error;
    bool failed = false;
    {
      const FailingNew failing(n);
      status = try_it(&error);
      failed = failing.failed();
    }
    if (!failed) {
      REQUIRE(status == DECANT_OK);
      return n;
    }
    CAPTURE(n);
    CAPTURE(error.message);
    if (status != DECANT_OK) {
      CHECK(status == DECANT_OUT_OF_MEMORY);
      CHECK(error.code == DECANT_OUT_OF_MEMORY);
      CHECK(error.message[0] != '\0');
    }
  }
}

}  // namespace

TEST_CASE("c_api: an engine opens or says that memory has run out, whichever allocation fails") {
  const NothingLeaks checked;
  const decant_model* const model = shared_c_model();
  const decant_engine_options options = small_c_options();
  CHECK(fail_each([&](decant_error* error) {
          CEngine engine;
          const decant_status status = decant_engine_create(model, &options, engine.out(), error);
          CHECK((engine.it != nullptr) == (status == DECANT_OK));
          return status;
        }) > 10);
}

TEST_CASE("c_api: a request is taken or not, whichever allocation fails") {
  const NothingLeaks checked;
  const CEngine engine = c_engine(shared_c_model());
  decant_error ignored;
  decant_request request = initialised(decant_request_init);
  const decant_text stop_string = {"a rather long stop string that no small buffer holds", DECANT_NUL_TERMINATED};
  decant_generation_options generation = initialised(decant_generation_options_init);
  generation.stop_strings = &stop_string;
  generation.n_stop_strings = 1;
  request.generation = &generation;
  request.prompt_text = "Hello there";
  CHECK(fail_each([&](decant_error* error) {
          int64_t sequence = 0;
          const decant_status status = decant_engine_submit(engine, &request, &sequence, error);
          CHECK((sequence > 0) == (status == DECANT_OK));
          decant_engine_info info;
          REQUIRE(decant_engine_get_info(engine, &info, sizeof info, &ignored) == DECANT_OK);
          CHECK(info.n_sequences == (status == DECANT_OK ? 1 : 0));
          if (sequence > 0) decant_engine_cancel(engine, sequence, &ignored);
          return status;
        }) > 3);
}

TEST_CASE("c_api: a step that finds no memory has done nothing, and the next one does it") {
  const NothingLeaks checked;
  const Said expected = say(c_session(c_engine(shared_c_model())), std::vector<int32_t>(40, 7), 40);
  const CEngine engine = c_engine(shared_c_model());
  const Greedy greedy(40);
  const std::vector<int32_t> prompt(40, 7);
  decant_request request = initialised(decant_request_init);
  request.prompt = prompt.data();
  request.n_prompt = prompt.size();
  request.generation = &greedy.options;
  int64_t sequence = 0;
  decant_error error;
  must_be_ok(decant_engine_submit(engine, &request, &sequence, &error), error);
  Said said;  // with room, so that it takes none while allocations fail
  said.ids.reserve(64);
  said.logprobs.reserve(64);
  said.text.reserve(4096);
  said.bytes.reserve(4096);
  for (bool idle = false; !idle;)
    fail_each([&](decant_error* wrong) {
      const decant_step_report* report = nullptr;
      const decant_status status = decant_engine_step(engine, nullptr, &report, wrong);
      CHECK((report != nullptr) == (status == DECANT_OK));
      for (size_t i = 0; report != nullptr && i < report->n_pieces; ++i) said.add(report->pieces[i]);
      idle = report != nullptr && report->idle != 0;
      return status;
    });
  CHECK(said == expected);
}

TEST_CASE("c_api: a session speaks the same text, whichever allocation fails before and while it does") {
  const NothingLeaks checked;
  const CEngine engine = c_engine(shared_c_model());
  const Greedy greedy(3);
  const int32_t prompt[] = {1, 2, 3};
  const Said expected = say(c_session(engine), {1, 2, 3}, 3);
  decant_error ignored;
  CHECK(fail_each([&](decant_error* error) {
          CSession session;
          decant_status status = decant_engine_session(engine, nullptr, session.out(), error);
          if (status != DECANT_OK) return status;
          CCompletion completion;
          status = decant_session_generate_ids(session, prompt, 3, &greedy.options, nullptr, nullptr, completion.out(),
                                               error);
          CHECK((completion.it != nullptr) == (status == DECANT_OK));
          if (status == DECANT_OK) CHECK(std::string(completion->text) == expected.text);
          decant_engine_forget_prefixes(engine, nullptr, 0, &ignored);
          return status;
        }) > 3);
}

}  // namespace decant::test
