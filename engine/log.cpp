// SPDX-License-Identifier: Apache-2.0
#include "decant/detail/log.h"

#include <mutex>

#include <spdlog/logger.h>
#include <spdlog/sinks/base_sink.h>

namespace decant::detail {

namespace {

LogLevel from_spdlog(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::trace:
      return LogLevel::trace;
    case spdlog::level::debug:
      return LogLevel::debug;
    case spdlog::level::info:
      return LogLevel::info;
    case spdlog::level::warn:
      return LogLevel::warn;
    case spdlog::level::off:
      return LogLevel::off;
    default:
      return LogLevel::error;
  }
}

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::trace:
      return spdlog::level::trace;
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warn:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
    case LogLevel::off:
      return spdlog::level::off;
  }
  return spdlog::level::off;
}

/// Hands messages on to the embedder, one at a time.
class EmbedderSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit EmbedderSink(LogSink embedder) : embedder_(std::move(embedder)) {}

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    embedder_(from_spdlog(message.level), std::string_view(message.payload.data(), message.payload.size()));
  }
  void flush_() override {}

  LogSink embedder_;
};

}  // namespace

struct Log::Logger {
  spdlog::logger logger;
};

Log::Log(std::string name, LogSink sink) {
  if (!sink) return;
  logger_ = std::make_shared<Logger>(
      Logger{spdlog::logger(std::move(name), std::make_shared<EmbedderSink>(std::move(sink)))});
  logger_->logger.set_level(spdlog::level::trace);
  logger_->logger.set_error_handler([](const std::string&) {});  // a sink that throws must not make spdlog print
}

void Log::emit(LogLevel level, const std::string& message) const { logger_->logger.log(to_spdlog(level), message); }

}  // namespace decant::detail
