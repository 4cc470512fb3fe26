# Errors with a class that callers may catch. Every message says what is wrong and what to do.

abort <- function(..., class = "scoregate_error") {
  condition <- structure(
    list(message = paste0(...), call = NULL),
    class = unique(c(class, "scoregate_error", "error", "condition"))
  )
  stop(condition)
}
