# Errors with a class that callers may catch. Every message says what is wrong and what to do.

abort <- function(..., class = "scoregate_error") {
  condition <- structure(
    list(message = paste0(...), call = NULL),
    class = unique(c(class, "scoregate_error", "error", "condition"))
  )
  stop(condition)
}

#' Refuse what was given, not what became of it: `scoregate package` ends with another status.
#' @noRd
abort_argument <- function(...) abort(..., class = "scoregate_bad_argument")

#' Refuse a call that leaves out what it cannot do without, naming all of it
#'
#' @param needed Names of arguments of the function that calls this.
#' @param like How to call it.
#' @noRd
need_arguments <- function(needed, like) {
  frame <- parent.frame()
  absent <- needed[vapply(needed, function(name) eval(call("missing", as.name(name)), frame), NA)]
  if (length(absent) > 0L) {
    abort("give ", paste0(absent, "=", collapse = ", "), " as well, as in ", like)
  }
}

#' What a condition says, as one text in UTF-8: its message may be anything, and its class may have a method that fails.
#' @noRd
condition_text <- function(condition) {
  said <- tryCatch(conditionMessage(condition), error = function(e) NULL)
  said <- if (is.atomic(said)) as.character(said)
  text <- paste(said[!is.na(said)], collapse = " ")
  if (!grepl("[^[:space:]]", text, useBytes = TRUE)) {
    text <- paste0("R stopped without a message (a condition of class ", paste(class(condition), collapse = "/"), ")")
  }
  iconv(text, to = "UTF-8", sub = "?")
}
