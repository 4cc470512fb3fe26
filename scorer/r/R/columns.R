# Answers as columns: what a predict function returned, as named columns, and those reduced to the base vectors of a
# signature's types. Every answer passes here, also at packaging: a shape that is refused is refused before publishing.

#' The columns of an answer: a named list of vectors and whether it was a bare vector or a table.
#'
#' A vector, factor or one-column matrix is a vector (its column is `prediction`); a data.frame, a matrix of several
#' columns or a list of vectors is a table.
#' @noRd
answer_columns <- function(answer) {
  if (is.data.frame(answer)) {
    return(list(kind = "table", columns = flat_columns(as.list(answer))))
  }
  if (is.list(answer) && !is.object(answer)) {
    if (length(answer) == 0L || is.null(names(answer))) {
      abort("predict returned a list without names: return a vector, a matrix, a data.frame or a named list of vectors",
        class = "scoregate_bad_output"
      )
    }
    return(list(kind = "table", columns = flat_columns(answer)))
  }
  if (is.matrix(answer) && ncol(answer) != 1L) {
    return(list(kind = "table", columns = matrix_columns(answer, "prediction.")))
  }
  if (is.atomic(answer) && !is.null(answer) && length(dim(answer)) <= 2L) {
    return(list(kind = "vector", columns = list(prediction = answer)))
  }
  abort("predict returned ", describe_value(answer), ": return a vector, a matrix, a data.frame or a named list of ",
    "vectors with one value per row (package_model(predict = function(model, newdata) ...) can do so)",
    class = "scoregate_bad_output"
  )
}

#' A list's columns, a matrix among them (lda's posterior) as one column each, `posterior.setosa` and so on.
#' @noRd
flat_columns <- function(columns) {
  wide <- vapply(columns, function(column) is.matrix(column) || is.data.frame(column), NA)
  if (!any(wide)) {
    return(columns)
  }
  parts <- Map(function(column, name) {
    if (!is.matrix(column) && !is.data.frame(column)) {
      return(stats::setNames(list(column), name))
    }
    inner <- if (is.matrix(column)) matrix_columns(column, "") else as.list(column)
    stats::setNames(inner, paste0(name, ".", names(inner)))
  }, columns, names(columns))
  do.call(c, unname(parts))
}

matrix_columns <- function(values, prefix) {
  labels <- colnames(values)
  if (is.null(labels)) labels <- paste0(prefix, seq_len(ncol(values)))
  stats::setNames(lapply(seq_len(ncol(values)), function(j) unname(values[, j])), labels)
}

#' Columns reduced to base vectors of the fields' types, in their order; each must have `rows` values.
#' @noRd
reduce_columns <- function(columns, fields, rows) {
  names(fields) <- vapply(fields, `[[`, "", "name")
  if (!identical(names(columns), names(fields))) {
    abort("predict returned columns (", paste(names(columns), collapse = ", "), ") where the signature has (",
      paste(names(fields), collapse = ", "), ")",
      class = "scoregate_bad_output"
    )
  }
  for (name in names(fields)) {
    if (length(columns[[name]]) != rows) {
      abort("predict returned ", length(columns[[name]]), " values of ", name, " for ", rows, " rows",
        class = "scoregate_wrong_length"
      )
    }
  }
  Map(reduce_column, columns, fields)
}

reduce_column <- function(values, field, who = "predict") {
  type <- field$type
  if (is.logical(values) && type != "logical" && all(is.na(values))) {
    return(missing_values(type, length(values)))
  }
  reduced <- switch(type,
    double = if (is.numeric(values) && !is.object(values)) as.double(values),
    integer = reduce_integer(values),
    logical = if (is.logical(values)) as.logical(values),
    string = if (is.character(values) || is.factor(values)) utf8_texts(as.character(values), field$name, who),
    factor = reduce_factor(values, field$levels, who),
    date = if (inherits(values, "Date")) as.double(unclass(values)),
    datetime = if (inherits(values, "POSIXt")) as.double(unclass(as.POSIXct(values)))
  )
  if (is.null(reduced)) {
    abort(who, " returned ", describe_value(values), " as ", field$name, ", which is ", type, " in the signature",
      class = "scoregate_bad_output"
    )
  }
  reduced
}

#' Texts in UTF-8. Asked before enc2utf8(), which writes "a<ff>" for bytes that are none.
#' @noRd
utf8_texts <- function(texts, name, who = "predict") {
  if (!all(validEnc(texts)) || any(Encoding(texts) == "bytes")) {
    abort(who, " returned text as ", name, " that is not UTF-8: convert it, as in iconv(x, from = \"latin1\", to = ",
      "\"UTF-8\"), or read it with its encoding", class = "scoregate_bad_output")
  }
  enc2utf8(texts)
}

reduce_integer <- function(values) {
  if (is.object(values) || !is.numeric(values)) {
    return(NULL)
  }
  if (is.integer(values)) {
    return(as.integer(values))
  }
  whole <- is.na(values) | (abs(values) < 2^31 & values == trunc(values))
  if (all(whole)) as.integer(values)
}

reduce_factor <- function(values, levels, who = "predict") {
  if (is.factor(values) && identical(levels(values), levels)) {
    return(as.integer(values))
  }
  if (!is.factor(values) && !is.character(values)) {
    return(NULL)
  }
  codes <- match(as.character(values), levels)
  if (any(is.na(codes) & !is.na(values))) {
    abort(who, " returned the class ", dQuote(as.character(values)[is.na(codes) & !is.na(values)][1L], FALSE),
      ", which is not one of the signature's: ", paste(levels, collapse = ", "),
      class = "scoregate_bad_output"
    )
  }
  codes
}

#' `rows` missing values of a type's base vector.
#' @noRd
missing_values <- function(type, rows) {
  switch(type,
    double = ,
    date = ,
    datetime = rep(NA_real_, rows),
    integer = ,
    factor = rep(NA_integer_, rows),
    logical = rep(NA, rows),
    string = rep(NA_character_, rows)
  )
}

describe_value <- function(value) {
  if (is.null(value)) {
    return("NULL")
  }
  shape <- if (is.null(dim(value))) length(value) else paste(dim(value), collapse = " x ")
  paste0("a ", paste(class(value), collapse = "/"), " (", shape, ")")
}
