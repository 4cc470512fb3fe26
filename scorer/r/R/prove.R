# The proof, run in a fresh R process that has only the packages the manifest declares: what package_model() writes in
# the manifest about answers, missing values and batching is what was seen here.

#' Prove a drafted package and say what was seen.
#'
#' @param dir The package, with a manifest that lacks outputs, `nullable`, `missing`, and everything below.
#' @param rows The sample as a worker would build it.
#' @param expected NULL or what the modeller's own session answered for the complete rows (columns as they came).
#' @param progress A function that takes texts.
#' @return A list for the manifest: `inputs`, `outputs`, `kind`, `batchable_reason`, `measured`, `example`, and `notes`.
#' @noRd
prove_package <- function(dir, rows, expected, tie_breaker = NULL, progress = function(...) NULL) {
  before <- process_bytes()
  model <- load_model_package(dir, verify = FALSE)
  load_bytes <- max(0, process_bytes() - before)
  if (is.na(load_bytes)) load_bytes <- as.double(utils::object.size(model$model))
  progress("loads in a fresh R process")

  complete <- stats::complete.cases(rows)
  if (!any(complete)) complete[] <- TRUE
  whole <- take_rows(rows, which(complete))
  described <- describe_outputs(first_answer(model, whole), nrow(whole))
  model$signature$outputs <- described$outputs
  model$signature$kind <- described$kind
  compare_sessions(model, whole, expected)
  progress("scores its sample (", nrow(whole), " rows) as in your session")

  missing <- probe_missing(model, whole)
  model$drop <- names(missing)[missing == "drop"]
  model$signature$inputs <- lapply(model$signature$inputs, function(field) {
    field$missing <- missing[[field$name]]
    field$nullable <- field$missing != "fail"
    field
  })
  nullable <- names(missing)[missing != "fail"]
  progress("a missing value gives ", describe_missing(missing))

  untaken <- Reduce(`|`, lapply(rows[names(missing)[missing == "fail"]], is.na), logical(nrow(rows)))
  taken <- if (all(untaken)) whole else take_rows(rows, which(!untaken))
  taken <- bind_rows(taken, punch_holes(spread_rows(whole, 40L), nullable))
  reason <- if (is.null(tie_breaker)) reason_not_to_batch(model, taken, progress) else tie_breaker
  measured <- c(list(load_bytes = load_bytes), measure_cost(model, whole))
  list(
    inputs = model$signature$inputs, outputs = described$outputs, kind = described$kind, batchable_reason = reason,
    measured = measured, example = example_json(model, example_rows(whole, nullable)),
    notes = if (any(untaken)) {
      paste0(sum(untaken), " of ", nrow(rows), " rows of the sample have missing values that the model cannot take: ",
        "left out")
    }
  )
}

#' What fails here and not in the session is something that only the session has.
#' @noRd
first_answer <- function(model, rows) {
  tryCatch(raw_answer(model, rows, default_seed), error = function(e) {
    packages <- names(model$manifest$packages)
    abort("in a fresh R process with ", if (length(packages) > 0L) quoted(packages) else "no package", " attached the ",
      "model cannot score its sample: ", condition_text(e), ". ", advice(condition_text(e)))
  })
}

#' The answer for some rows of the sample, of which all were scored: what fails now has looked at the others.
#' @noRd
answer_some <- function(model, rows, seed = default_seed) {
  tryCatch(answer_rows(model, rows, seed), error = function(e) {
    abort("the model scores its sample as a whole, but not ", nrow(rows), if (nrow(rows) == 1L) " row" else " rows",
      " of it: ", condition_text(e), ". A request has any number of rows, and each must be answered by itself: what ",
      "the model computes from the rows it is given, as cut(x, 3) in its formula does, must be fixed when it is ",
      "fitted, as in cut(x, c(0, 10, 20)), or in a column of its own")
  })
}

#' The outputs as fields, from an answer for `rows` rows.
#' @noRd
describe_outputs <- function(answer, rows) {
  answered <- answer_columns(answer)
  check_column_names(names(answered$columns), "outputs")
  outputs <- unname(Map(describe_output, answered$columns, names(answered$columns)))
  reduce_columns(answered$columns, outputs, rows)
  list(kind = answered$kind, outputs = outputs)
}

describe_output <- function(values, name) {
  type <- if (is.logical(values) && all(is.na(values))) "double" else column_type(values)
  if (is.null(type) || length(dim(values)) > 1L && ncol(values) != 1L) {
    abort("the model answers ", describe_value(values), " as ", name, ", which cannot be sent: give ",
      "package_model(predict = function(model, newdata) ...) that returns numbers, text, factors or dates",
      class = "scoregate_bad_output"
    )
  }
  field <- list(name = name, type = type, nullable = TRUE)
  if (type == "factor") {
    field$levels <- utf8_texts(levels(values), name)
    field$ordered <- is.ordered(values)
  }
  field
}

#' Refuse a model that answers otherwise in a fresh R process than in its author's session (beyond what another BLAS or
#' number of threads explains).
#' @noRd
compare_sessions <- function(model, rows, expected) {
  if (is.null(expected)) {
    return(invisible())
  }
  expected <- reduce_columns(expected, model$signature$outputs, nrow(rows))
  got <- call_model(model, rows, default_seed)
  for (name in names(got)) {
    if (!close_enough(expected[[name]], got[[name]])) {
      changed <- first_difference(expected[name], got[name])
      abort("in a fresh R process the model answers otherwise than in your session: ", changed, ". Does predicting ",
        "depend on options(), on a variable or function of your session, on the time zone, or were types converted ",
        "after the fit? Give it all it needs by predict = and files="
      )
    }
  }
}

close_enough <- function(a, b) {
  if (!is.double(a)) {
    return(identical(a, b))
  }
  differs <- is.na(a) != is.na(b) | (!is.na(a) & !is.na(b) & a != b & !(abs(a - b) <= 1e-9 * pmax(abs(a), abs(b))))
  !any(differs)
}

describe_missing <- function(missing) {
  words <- c(value = "a value", na = "NA", drop = "NA, by scoring around the row", fail = "a refusal before R")
  kinds <- split(names(missing), factor(missing, levels = names(words)), drop = TRUE)
  if (length(kinds) == 1L) {
    return(paste0(words[[names(kinds)]], ", in every column"))
  }
  paste(vapply(names(kinds), function(kind) paste0(words[[kind]], " in ", quoted(kinds[[kind]])), ""), collapse = "; ")
}
