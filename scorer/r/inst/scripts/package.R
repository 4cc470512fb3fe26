# Package a model from files: what `scoregate package` runs. Needs the R package scoregate in the library (R_LIBS).
#
#   Rscript --vanilla package.R --model MODEL.rds --sample FILE.csv --name NAME --version VERSION --out DIR
#     [--description TEXT] [--predict SCORE.R] [--file PATH]... [--package NAME]... [--input COLUMN]...
#     [--type COLUMN=double|integer|logical|string|factor|date|datetime]... [--option NAME=VALUE]...
#     [--interval prediction|confidence] [--level 0.95] [--slim] [--no-retry] [--quiet]
#
# FILE.csv: UTF-8, a header line; empty cells and NA are missing. Column types come from --type, else from what the
# model knows of its training data, else from the cells. Progress goes to stderr. Status 0: DIR is written; 1: refused,
# with one line on stderr that starts with "Error: "; 2: the arguments cannot be used, with one that starts with
# "Usage: ".

flags <- c("slim", "no-retry", "quiet")
once <- c("model", "sample", "name", "version", "out", "description", "predict", "interval", "level")
often <- c("file", "package", "input", "type", "option")

usage <- function(...) {
  message("Usage: ", ...)
  quit(save = "no", status = 2L)
}

read_arguments <- function(arguments) {
  given <- list()
  while (length(arguments) > 0L) {
    name <- sub("^--", "", arguments[1L])
    if (!startsWith(arguments[1L], "--") || !name %in% c(flags, once, often)) usage("unknown argument ", arguments[1L])
    if (name %in% flags) {
      given[[name]] <- TRUE
      arguments <- arguments[-1L]
      next
    }
    if (length(arguments) < 2L) usage("--", name, " needs a value")
    if (name %in% once && !is.null(given[[name]])) usage("--", name, " is given twice")
    given[[name]] <- c(given[[name]], arguments[2L])
    arguments <- arguments[-(1:2)]
  }
  for (name in c("model", "sample", "name", "version", "out")) {
    if (is.null(given[[name]])) usage("--", name, " is missing")
  }
  given
}

#' NAME=VALUE pairs as a named character vector.
pairs <- function(texts, flag) {
  if (any(!grepl("^[^=]+=", texts))) usage("--", flag, " is written NAME=VALUE")
  stats::setNames(sub("^[^=]+=", "", texts), sub("=.*$", "", texts))
}

#' TRUE, FALSE and numbers as such, anything else as text.
option_value <- function(text) {
  if (text %in% c("TRUE", "FALSE")) {
    return(text == "TRUE")
  }
  number <- scoregate:::parse_doubles(text)
  if (is.na(number)) text else number
}

main <- function(given) {
  if (!file.exists(given$model)) usage("there is no file ", given$model, ": give the path of a fitted model's .rds")
  for (package in given$package) suppressPackageStartupMessages(library(package, character.only = TRUE))
  model <- tryCatch(readRDS(given$model), error = function(e) {
    usage(given$model, " is not a file that saveRDS() wrote (", conditionMessage(e), "): in R, ",
      "saveRDS(fit, \"model.rds\")")
  })
  if (is.function(model)) {
    usage(
      given$model, " holds a function, not a fitted model: package it in R, by scoregate::package_function(), ",
      "which asks for its inputs, its outputs and an example; then scoregate publish or scoregate try with its folder"
    )
  }
  types <- if (!is.null(given$type)) pairs(given$type, "type") else character()
  options <- if (!is.null(given$option)) lapply(as.list(pairs(given$option, "option")), option_value) else list()
  arguments <- list(
    model, given$name, given$version,
    sample = scoregate:::read_sample(given$sample, model, types),
    dir = given$out, predict = given$predict, packages = given$package,
    description = if (is.null(given$description)) "" else given$description,
    slim = isTRUE(given$slim), interval = given$interval, options = options, inputs = given$input,
    files = given$file, retry = !isTRUE(given$`no-retry`), quiet = isTRUE(given$quiet)
  )
  if (!is.null(given$level)) arguments$level <- option_value(given$level)
  do.call(scoregate::package_model, arguments, quote = TRUE)
}

given <- read_arguments(commandArgs(trailingOnly = TRUE))
tryCatch(invisible(main(given)), scoregate_bad_argument = function(e) usage(conditionMessage(e)), error = function(e) {
  message("Error: ", scoregate:::condition_text(e))
  quit(save = "no", status = 1L)
})
