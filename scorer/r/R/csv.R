# CSV files as rows of a signature's types, for those who have only a file. Everything is read as text and parsed by
# type: R's own as.numeric() misreads some decimal texts by a bit (39 of 200,000 of 15 digits); jsonlite does not.

#' The cells of a CSV file as text columns; empty cells and NA are missing.
#' @noRd
read_csv_text <- function(path) {
  if (!file.exists(path)) {
    abort_argument("there is no file ", path, ": give the path of a CSV file with a header line")
  }
  cells <- utils::read.csv(path, colClasses = "character", na.strings = c("", "NA"), check.names = FALSE,
    fileEncoding = "UTF-8-BOM", encoding = "UTF-8")
  if (nrow(cells) == 0L) {
    abort_argument(path, " has no rows: give a CSV file with a header line and one line per row")
  }
  cells
}

#' Rows of a signature from text columns, as a worker would build them.
#' @noRd
rows_from_text <- function(cells, fields) {
  names <- vapply(fields, `[[`, "", "name")
  absent <- setdiff(names, names(cells))
  if (length(absent) > 0L) {
    abort("the CSV file has no column ", quoted(absent), ": the model takes ", quoted(names))
  }
  columns <- Map(function(name, field) parse_cells(cells[[name]], field), names, fields)
  structure(columns, class = "data.frame", row.names = .set_row_names(nrow(cells)))
}

parse_cells <- function(text, field) {
  if (!field$type %in% c("string", "factor")) {
    text <- trimws(text)
    text[!nzchar(text)] <- NA
  }
  values <- switch(field$type,
    double = parse_doubles(text),
    integer = parse_integers(text),
    logical = parse_logicals(text),
    string = text,
    factor = coded_factor(match(text, field$levels), field$levels, isTRUE(field$ordered)),
    date = structure(as.double(unclass(as.Date(text, format = "%Y-%m-%d"))), class = "Date"),
    datetime = parse_utc(text)
  )
  wrong <- which(is.na(values) & !is.na(text) & !(field$type == "double" & text %in% "NaN"))
  if (length(wrong) > 0L) {
    abort_argument("row ", wrong[1L], " of column ", field$name, " is ", dQuote(text[wrong[1L]], FALSE), ", which is ",
      "no ", field$type, if (field$type == "factor") paste0(" with levels ", quoted(field$levels)))
  }
  values
}

#' Decimal texts as the nearest doubles; anything that is no number becomes NA.
#' @noRd
parse_doubles <- function(text) {
  text <- sub("^[+]", "", text)
  text <- sub("^(-?)[.]", "\\10.", text)
  text <- sub("^(-?[0-9]+)[.]?([eE]|$)", "\\1.0\\2", text)
  values <- rep(NA_real_, length(text))
  values[text %in% "Inf"] <- Inf
  values[text %in% "-Inf"] <- -Inf
  values[text %in% "NaN"] <- NaN
  number <- grepl("^-?(0|[1-9][0-9]*)[.][0-9]+([eE][+-]?[0-9]+)?$", text)
  if (any(number)) {
    values[number] <- as.double(jsonlite::fromJSON(paste0("[", paste(text[number], collapse = ","), "]")))
  }
  values
}

parse_integers <- function(text) {
  number <- parse_doubles(text)
  whole <- !is.na(number) & number == trunc(number) & abs(number) < 2^31
  values <- rep(NA_integer_, length(text))
  values[whole] <- as.integer(number[whole])
  values
}

parse_logicals <- function(text) {
  c(`TRUE` = TRUE, `true` = TRUE, `T` = TRUE, `FALSE` = FALSE, `false` = FALSE, `F` = FALSE)[text] |> unname()
}

#' A sample for package_model() from a CSV file. Types come from `types` (a named vector), then from what the model
#' knows, then from the cells: all numbers double, TRUE and FALSE logical, 2024-01-31 a date, else text.
#' @noRd
read_sample <- function(path, model, types = character()) {
  cells <- read_csv_text(path)
  strangers <- setdiff(names(types), names(cells))
  if (length(strangers) > 0L) {
    abort_argument("a type is given for ", quoted(strangers), ", which the CSV file does not have: its columns are ",
      quoted(names(cells)))
  }
  unknown <- types[!types %in% c("double", "integer", "logical", "string", "factor", "date", "datetime")]
  if (length(unknown) > 0L) {
    abort_argument("the type ", describe_text(unname(unknown[1L])), " of column ", names(unknown)[1L], " is none: use ",
      "double, integer, logical, string, factor, date or datetime")
  }
  levels <- model_levels(model, cells[0L])
  classes <- model_data_classes(model)
  sample <- Map(function(text, name) {
    type <- types[name]
    if (is.na(type)) type <- known_type(text, name, levels, classes)
    known <- if (is.null(levels[[name]])) sort(unique(text), method = "radix") else levels[[name]]
    parse_cells(text, list(name = name, type = unname(type), levels = known,
      ordered = identical(unname(classes[name]), "ordered")))
  }, cells, names(cells))
  structure(sample, class = "data.frame", row.names = .set_row_names(nrow(cells)))
}

known_type <- function(text, name, levels, classes) {
  class <- if (name %in% names(classes)) classes[[name]] else "unknown"
  if (!is.null(levels[[name]]) || class %in% c("factor", "ordered")) {
    return("factor")
  }
  switch(class, numeric = "double", logical = "logical", character = "string", guess_type(text))
}

guess_type <- function(text) {
  text <- text[!is.na(text)]
  if (length(text) == 0L || !anyNA(parse_doubles(text[text != "NaN"]))) {
    "double"
  } else if (!anyNA(parse_logicals(text))) {
    "logical"
  } else if (all(grepl("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", text))) {
    "date"
  } else if (all(grepl("^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:]{8}([.][0-9]+)?Z$", text))) {
    "datetime"
  } else {
    "string"
  }
}

#' The classes of the columns a model was fitted on, as far as its terms tell.
#' @noRd
model_data_classes <- function(model) {
  terms <- tryCatch(stats::terms(model), error = function(e) NULL)
  if (inherits(terms, "terms")) attr(terms, "dataClasses") else character()
}
