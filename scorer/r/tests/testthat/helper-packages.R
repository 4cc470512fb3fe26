# Packages for tests, in folders that go away with the session.

new_folder <- function() {
  tempfile("package-", tmpdir = normalizePath(tempdir()))
}

#' Package quietly and give the folder.
pack <- function(model, sample, ..., name = "some-model", version = "1", dir = new_folder()) {
  package_model(model, name, version, sample = sample, dir = dir, ..., quiet = TRUE)
}

#' All that is said while an expression runs, as one text.
said <- function(expression) {
  paste(testthat::capture_messages(expression), collapse = "")
}

#' A loaded package without a fresh process: for tests of what the proof is made of.
loaded <- function(predict, sample, outputs = NULL) {
  fields <- describe_inputs(sample)
  rows <- rebuild_rows(sample, fields)
  model <- structure(
    list(name = "some-model", version = "1", predictor = predict, drop = character(), model = NULL,
      signature = list(inputs = fields, outputs = outputs)),
    class = "scoregate_model"
  )
  if (is.null(outputs)) {
    model$signature$outputs <- describe_outputs(raw_answer(model, rows, default_seed), nrow(rows))$outputs
  }
  model
}

answers <- function(dir, rows) {
  model <- load_model_package(dir)
  predict_rows(model, rebuild_rows(rows, model$signature$inputs))
}
