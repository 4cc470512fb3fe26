# Calling a packaged function: one call is a frame of one row, in which a vector's size stands before its values.

#' Call a packaged function
#'
#' The random seed is set before the call and warnings are muffled, as a worker does.
#'
#' @param model A `scoregate_model` from [load_model_package()] whose package [package_function()] wrote.
#' @param inputs A named list with exactly the signature's inputs: single values, or vectors where it says so.
#' @return A named list with the outputs in the signature's order. The values are plain: factors as integer codes
#'   (1-based), dates as days, datetimes as seconds. Errors of class `scoregate_wrong_length` or `scoregate_bad_output`
#'   tell an answer that is not the signature's.
#' @examples
#' \dontrun{
#' loan <- load_model_package("loan-payment")
#' call_function(loan, list(principal = 1000, rate = 0.05, years = 10L))$payment
#' }
#' @export
call_function <- function(model, inputs) {
  if (is.null(model$fun)) {
    abort(model$name, " is a model and takes rows, not inputs: use predict_rows(model, newdata)")
  }
  call_loaded(model, rebuild_inputs(inputs, model$signature$inputs), default_seed)
}

call_loaded <- function(model, inputs, seed) {
  function_outputs(raw_call(model$fun, inputs, seed), model$signature$outputs)
}

raw_call <- function(fun, inputs, seed) {
  set.seed(seed)
  suppressMessages(withCallingHandlers(
    do.call(fun, inputs, quote = TRUE),
    warning = function(w) tryInvokeRestart("muffleWarning")
  ))
}

#' The function of a loaded package: `run_function`, which sees the package's R files and its objects.
#'
#' What was defined in the modeller's session looked up what it did not find in that session; here it looks in an
#' environment of the package's own.
#' @noRd
load_function <- function(dir, objects, files) {
  home <- new.env(parent = globalenv())
  code <- grep("[.][rR]$", files, value = TRUE)
  for (file in c(setdiff(code, "score.R"), intersect(code, "score.R"))) {
    sys.source(normalizePath(file.path(dir, file)), home, chdir = TRUE, keep.source = FALSE)
  }
  list2env(lapply(objects, move_home, home), home)
  if (!is.function(home$run_function)) {
    abort("score.R defines no run_function: it must define run_function <- function(...) with the inputs as arguments")
  }
  home$run_function
}

move_home <- function(object, home) {
  if (!is.function(object) || is.primitive(object)) {
    return(object)
  }
  if (identical(environment(object), globalenv())) {
    environment(object) <- home
    return(object)
  }
  frame <- environment(object) # of the function that made this one
  while (!isNamespace(frame) && !identical(frame, home) && !identical(frame, emptyenv())) {
    if (identical(parent.env(frame), globalenv())) {
      parent.env(frame) <- home
      break
    }
    frame <- parent.env(frame)
  }
  object
}

# --- the wire

call_codec <- function(fields) {
  lapply(fields, function(field) list(name = field$name, vector = isTRUE(field$vector), one = frame_codec(list(field))))
}

#' The inputs of a call's bytes; fails unless `body` is exactly such a call.
#' @noRd
decode_call <- function(codec, body) {
  at <- 0
  values <- vector("list", length(codec))
  for (index in seq_along(codec)) {
    field <- codec[[index]]
    count <- 1L
    if (field$vector) {
      count <- read_numbers(body, at, "integer", 1L)
      if (is.na(count) || count < 0L) stop("The frame has a negative size.", call. = FALSE)
      at <- at + 4
    }
    size <- switch(field$one$runs[[1L]]$kind,
      double = 8 * count,
      integer = 4 * count,
      string = 4 * count + sum(pmax(0, read_numbers(body, at, "integer", count)), na.rm = TRUE)
    )
    values[[index]] <- decode_frame(field$one, read_bytes(body, at, size), count)[[1L]]
    at <- at + size
  }
  if (at != length(body)) {
    stop("The frame has ", length(body), " bytes where its inputs need ", at, ".", call. = FALSE)
  }
  stats::setNames(values, vapply(codec, `[[`, "", "name"))
}

#' The bytes of a call's outputs, plain vectors by name.
#' @noRd
encode_call <- function(codec, values) {
  parts <- Map(function(field, value) {
    count <- length(value)
    bytes <- encode_frame(field$one, stats::setNames(list(value), field$name), count)
    if (field$vector) c(writeBin(count, raw(), endian = "little"), bytes) else bytes
  }, codec, values)
  do.call(c, unname(parts))
}

#' As `frame_predictor()`, of a function's body: one call.
#' @noRd
call_answerer <- function(model) {
  inputs <- call_codec(model$signature$inputs)
  outputs <- call_codec(model$signature$outputs)
  function(body, rows) {
    if (rows != 1) stop("A function takes one call at a time, not ", rows, ".", call. = FALSE)
    encode_call(outputs, call_loaded(model, decode_call(inputs, body), default_seed))
  }
}
