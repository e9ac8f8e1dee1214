// SPDX-License-Identifier: Apache-2.0
#pragma once

// The only name of spdlog's logger in decant. The library is silent unless the embedder gives a sink.
#include <memory>
#include <string>
#include <utility>

#include "decant/detail/format.h"
#include "decant/options.h"

namespace decant::detail {

/// Messages of one model or engine, formatted only when a sink is there.
class Log {
 public:
  Log() = default;
  /// name: whose messages these are, e.g. "model".
  Log(std::string name, LogSink sink);

  template <typename... Args>
  void info(fmt::format_string<Args...> text, Args&&... args) const {
    write(LogLevel::info, text, std::forward<Args>(args)...);
  }
  template <typename... Args>
  void warn(fmt::format_string<Args...> text, Args&&... args) const {
    write(LogLevel::warn, text, std::forward<Args>(args)...);
  }
  template <typename... Args>
  void debug(fmt::format_string<Args...> text, Args&&... args) const {
    write(LogLevel::debug, text, std::forward<Args>(args)...);
  }

 private:
  template <typename... Args>
  void write(LogLevel level, fmt::format_string<Args...> text, Args&&... args) const {
    if (logger_) emit(level, detail::format(text, std::forward<Args>(args)...));
  }
  void emit(LogLevel level, const std::string& message) const;

  struct Logger;
  std::shared_ptr<Logger> logger_;
};

}  // namespace decant::detail
