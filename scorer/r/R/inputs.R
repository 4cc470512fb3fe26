# The signature's inputs, read off a sample of the training data, and the sample rebuilt as a worker will build rows:
# only the inputs, in order, with the signature's classes and levels.

#' The columns a model takes, in the sample's order.
#'
#' What the modeller says; else what the model's terms (or forest) tell, and for a predict function of one's own also
#' the columns its code names; else all columns of the sample.
#' @noRd
choose_columns <- function(sample, told, said = NULL, named_in_code = character()) {
  needed <- if (is.null(said)) told else said
  if (is.null(needed)) {
    return(names(sample))
  }
  absent <- setdiff(needed, names(sample))
  if (!is.null(said) && length(absent) > 0L) {
    abort_argument("inputs names ", quoted(absent), ", which the sample does not have: its columns are ",
      quoted(names(sample)))
  }
  names(sample)[names(sample) %in% c(needed, named_in_code)]
}

#' One field per column, without `nullable` and `missing`, which are probed later. `known` are levels the model knows.
#' @noRd
describe_inputs <- function(sample, known = list()) {
  check_column_names(names(sample), "columns of the sample")
  Map(function(values, name) describe_input(values, name, known[[name]]), sample, names(sample), USE.NAMES = FALSE)
}

describe_input <- function(values, name, known) {
  if (!is.null(dim(values)) || is.list(values) && !inherits(values, "POSIXlt")) {
    abort("column ", name, " of the sample is ", describe_value(values), ": a row must hold one value per column, so ",
      "make each of its parts a column of its own"
    )
  }
  type <- column_type(values)
  if (is.null(type)) {
    abort("column ", name, " of the sample is ", describe_value(values), ", which no caller can send: convert it to ",
      "numeric, integer, logical, character, factor, Date or POSIXct, and fit the model on that"
    )
  }
  if (type == "string" && !is.null(known)) type <- "factor"
  if (type == "factor") {
    return(factor_input(values, name, known))
  }
  field <- list(name = name, type = type)
  if (type == "string") check_texts(values, name)
  field$range <- seen_range(values, type)
  field
}

factor_input <- function(values, name, known) {
  seen <- if (is.factor(values)) levels(values) else sort(unique(values), method = "radix")
  if (!is.null(known)) {
    strangers <- setdiff(unique(as.character(values[!is.na(values)])), known)
    if (length(strangers) > 0L) {
      abort("the sample has ", quoted(strangers), " in column ", name, ", which the model does not know (it knows ",
        quoted(known), "): leave those rows out, or fit the model with them"
      )
    }
    seen <- known
  }
  check_texts(seen, name)
  if (length(seen) == 0L || anyNA(seen)) {
    abort("the factor ", name, " has ", if (anyNA(seen)) "NA among its" else "no", " levels: give missing values a ",
      "label of their own, or leave the column out, and fit the model on that")
  }
  list(name = name, type = "factor", levels = seen, ordered = is.ordered(values))
}

#' The signature's type of a column, or NULL.
#' @noRd
column_type <- function(values) {
  if (is.factor(values)) {
    "factor"
  } else if (inherits(values, "Date")) {
    "date"
  } else if (inherits(values, "POSIXt")) {
    "datetime"
  } else if (is.object(values) && !inherits(values, "AsIs")) {
    NULL
  } else {
    switch(typeof(values), double = "double", integer = "integer", logical = "logical", character = "string")
  }
}

#' The smallest and largest value seen, as numbers or ISO 8601 text. Information for a caller, never a rule.
#' @noRd
seen_range <- function(values, type) {
  if (type == "datetime") values <- as.POSIXct(values)
  values <- values[!is.na(values)]
  if (length(values) == 0L) {
    return(NULL)
  }
  switch(type,
    double = as.list(as.double(range(values))),
    integer = as.list(range(as.integer(values))),
    date = as.list(format(range(values), "%Y-%m-%d")),
    datetime = as.list(format(range(values), "%Y-%m-%dT%H:%M:%SZ", tz = "UTC"))
  )
}

check_texts <- function(values, name) {
  if (!all(validUTF8(as.character(values)))) {
    abort("column ", name, " of the sample has text that is not UTF-8: read the data with its encoding, as in ",
      "read.csv(fileEncoding = \"latin1\")"
    )
  }
}

#' The columns of `data` that the fields name, in order, as a worker builds them.
#' @noRd
rebuild_rows <- function(data, fields) {
  columns <- lapply(fields, function(field) rebuild_column(data[[field$name]], field))
  names(columns) <- vapply(fields, `[[`, "", "name")
  structure(columns, class = "data.frame", row.names = .set_row_names(nrow(data)))
}

rebuild_column <- function(values, field) {
  switch(field$type,
    double = as.double(values),
    integer = as.integer(values),
    logical = as.logical(values),
    string = enc2utf8(as.character(values)),
    factor = coded_factor(match(as.character(values), field$levels), field$levels, isTRUE(field$ordered)),
    date = structure(as.double(unclass(values)), class = "Date"),
    datetime = structure(as.double(unclass(as.POSIXct(values))), class = c("POSIXct", "POSIXt"), tzone = "UTC")
  )
}

coded_factor <- function(codes, levels, ordered) {
  structure(codes, levels = levels, class = if (ordered) c("ordered", "factor") else "factor")
}

quoted <- function(names) {
  shown <- paste0("\"", utils::head(names, 8L), "\"", collapse = ", ")
  if (length(names) > 8L) paste0(shown, " and ", length(names) - 8L, " more") else shown
}
