# The example in a manifest: about ten rows of the sample, then rows with missing values where the model takes them, and
# R's answers. The scorer must reproduce it before it serves.

example_rows <- function(rows, nullable) {
  complete <- spread_rows(rows, 10L)
  nullable <- nullable[spread(length(nullable), 6L)]
  if (length(nullable) == 0L) {
    return(complete)
  }
  holed <- tile_rows(complete, length(nullable) + 1L)
  holed <- take_rows(holed, seq_len(length(nullable) + 1L))
  for (j in seq_along(nullable)) holed[[nullable[j]]][c(j, length(nullable) + 1L)] <- NA
  bind_rows(complete, holed)
}

#' The example as JSON values: labels for factors, days for dates, seconds for datetimes.
#' @noRd
example_json <- function(model, rows) {
  inputs <- Map(function(values, field) {
    json_array(if (field$type %in% c("factor", "string")) as.character(values) else as.vector(unclass(values)))
  }, as.list(rows), model$signature$inputs)
  outputs <- Map(function(values, field) {
    json_array(if (field$type == "factor") field$levels[values] else values)
  }, predict_rows(model, rows), model$signature$outputs)
  list(inputs = plain_names(inputs, model$signature$inputs), outputs = plain_names(outputs, model$signature$outputs))
}

plain_names <- function(values, fields) {
  stats::setNames(values, vapply(fields, `[[`, "", "name"))
}
