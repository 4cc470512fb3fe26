# The inputs and outputs of a function as the modeller writes them, list(rate = "double", years = "integer[]"), as
# fields of a signature; and R values as a caller would send them, and as the signature says they are answered.

function_types <- c(
  double = "double", numeric = "double", integer = "integer", logical = "logical", string = "string",
  character = "string", factor = "factor", date = "date", Date = "date", datetime = "datetime", POSIXct = "datetime"
)

#' Fields of the inputs or outputs. A factor's levels are those of its value in the example.
#'
#' @param types A named list (or character vector) of types, `[]` after those of vectors.
#' @param values The example's values by name.
#' @param what `"inputs"` or `"outputs"`.
#' @noRd
describe_function_side <- function(types, values, what) {
  types <- as.list(types)
  if (length(types) > 0L && is.null(names(types))) {
    abort(what, " must have names, as in ", what, " = list(rate = \"double\", years = \"integer[]\")")
  }
  check_column_names(names(types), what)
  unname(Map(function(type, name) describe_function_field(type, name, values[[name]], what), types, names(types)))
}

describe_function_field <- function(type, name, value, what) {
  bare <- if (is_text(type)) sub("[[][]]$", "", type)
  if (is.null(bare) || !bare %in% names(function_types)) {
    abort("the type of ", name, " in ", what, " is ", describe_text(type), ": give \"double\", \"integer\", ",
      "\"logical\", \"string\", \"factor\", \"date\" or \"datetime\", with [] after it where it is a vector, ",
      "as in \"double[]\"")
  }
  field <- list(name = name, type = function_types[[bare]], nullable = what == "outputs")
  if (field$type == "factor") {
    if (!is.factor(value) || nlevels(value) == 0L || anyNA(levels(value))) {
      abort("the example's ", name, " must be a factor with its levels, for they are all that a caller may send or ",
        "get: factor(\"a\", levels = c(\"a\", \"b\"))")
    }
    check_texts(levels(value), name)
    field$levels <- levels(value)
    field$ordered <- is.ordered(value)
  }
  if (type != bare) field$vector <- TRUE
  field
}

#' The example's inputs as a worker builds them from a call: only their types, the signature's classes and levels.
#' @noRd
rebuild_inputs <- function(values, fields) {
  names <- vapply(fields, `[[`, "", "name")
  check_input_names(names(values), names)
  stats::setNames(lapply(fields, function(field) rebuild_input(values[[field$name]], field)), names)
}

check_input_names <- function(given, wanted) {
  if (!setequal(given, wanted) || anyDuplicated(given)) {
    abort("the example's inputs are ", if (length(given) > 0L) quoted(given) else "none", " where the function's are ",
      if (length(wanted) > 0L) quoted(wanted) else "none")
  }
}

rebuild_input <- function(value, field) {
  if (!isTRUE(field$vector) && length(value) != 1L) {
    abort("the example has ", length(value), " values of ", field$name, ", which is a single ", field$type, ": ",
      "declare it as \"", field$type, "[]\" if callers send a vector")
  }
  if (is.logical(value) && all(is.na(value)) && field$type != "factor") {
    value <- missing_values(field$type, length(value))
  }
  fits <- switch(field$type,
    double = is.numeric(value) && !is.object(value),
    integer = !is.null(reduce_integer(value)),
    logical = is.logical(value),
    string = is.character(value),
    factor = is.factor(value),
    date = inherits(value, "Date") || is.double(value),
    datetime = inherits(value, "POSIXt") || is.double(value)
  )
  if (!fits || length(dim(value)) > 0L) {
    abort("the example's ", field$name, " is ", describe_value(value), ", which is no ", field$type,
      if (isTRUE(field$vector)) " vector")
  }
  if (field$type == "string") check_texts(value, field$name)
  rebuild_column(value, field)
}

#' The outputs of an answer as plain vectors, in the signature's order: factors as codes, dates as days, times as
#' seconds.
#'
#' An answer is a named list (or data.frame) with exactly the outputs; of a function with one output it may be the bare
#' value.
#' @noRd
function_outputs <- function(answer, fields) {
  names <- vapply(fields, `[[`, "", "name")
  if (is.list(answer) && !is.null(names(answer)) && !inherits(answer, "POSIXlt")) {
    wrong <- c(setdiff(names, names(answer)), setdiff(names(answer), names), names(answer)[duplicated(names(answer))])
    if (length(wrong) > 0L) {
      abort("the function returned ", quoted(names(answer)), " where its outputs are ", quoted(names), ": return a ",
        "list with exactly these names", class = "scoregate_bad_output")
    }
  } else if (length(names) == 1L && !is.null(answer)) {
    answer <- stats::setNames(list(answer), names)
  } else {
    abort("the function returned ", describe_value(answer), " where its outputs are ", quoted(names), ": return a ",
      "named list, list(", paste0(names, " = ...", collapse = ", "), ")", class = "scoregate_bad_output")
  }
  stats::setNames(lapply(fields, function(field) function_output(answer[[field$name]], field)), names)
}

function_output <- function(value, field) {
  if (length(dim(value)) > 1L) {
    abort("the function returned ", describe_value(value), " as ", field$name, ": return a vector, as as.vector() ",
      "makes one", class = "scoregate_bad_output")
  }
  if (!isTRUE(field$vector) && length(value) != 1L && !is.null(value)) {
    abort("the function returned ", length(value), " values of ", field$name, ", which is a single ", field$type,
      class = "scoregate_wrong_length")
  }
  reduce_column(value, field, "the function")
}
