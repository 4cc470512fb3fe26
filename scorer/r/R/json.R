# JSON as a manifest needs it: every number as %.17g, so that no bit is lost. jsonlite writes at most 15 digits.
#
# A named list is an object, an unnamed list an array, a vector of length one a scalar, any other vector an array, NULL
# is null. json_array() keeps a vector of one an array. NA and NaN are null; infinities are the strings "Inf", "-Inf".

json_array <- function(x) {
  structure(list(values = x), class = "scoregate_json_array")
}

#' The JSON text of a value. `depth` levels of objects and arrays get a line per member.
#' @noRd
json_text <- function(x, depth = 0L, indent = "") {
  if (inherits(x, "scoregate_json_array")) {
    return(paste0("[", paste(json_scalars(x$values), collapse = ", "), "]"))
  }
  if (is.null(x)) {
    return("null")
  }
  if (!is.list(x)) {
    scalars <- json_scalars(x)
    return(if (length(x) == 1L) scalars else paste0("[", paste(scalars, collapse = ", "), "]"))
  }
  inner <- paste0(indent, "  ")
  members <- vapply(x, json_text, "", depth = depth - 1L, indent = inner)
  object <- !is.null(names(x))
  brackets <- if (object) c("{", "}") else c("[", "]")
  if (length(members) == 0L) {
    return(paste(brackets, collapse = ""))
  }
  if (object) members <- paste0(json_strings(names(x)), ": ", members)
  if (depth > 0L) {
    paste0(brackets[1L], "\n", paste0(inner, members, collapse = ",\n"), "\n", indent, brackets[2L])
  } else {
    paste0(brackets[1L], paste(members, collapse = ", "), brackets[2L])
  }
}

json_scalars <- function(x) {
  if (is.object(x)) stop("json_text takes plain vectors, not ", describe_value(x))
  switch(typeof(x),
    double = json_numbers(x),
    integer = ifelse(is.na(x), "null", sprintf("%d", x)),
    logical = ifelse(is.na(x), "null", ifelse(x, "true", "false")),
    character = ifelse(is.na(x), "null", json_strings(x)),
    stop("json_text cannot write a ", typeof(x))
  )
}

json_numbers <- function(x) {
  text <- sprintf("%.17g", x)
  text[x == 0 & 1 / x < 0] <- "-0.0"
  text[is.infinite(x)] <- ifelse(x[is.infinite(x)] > 0, "\"Inf\"", "\"-Inf\"")
  text[is.na(x)] <- "null"
  text
}

#' Quoted strings in UTF-8. Only ASCII bytes are ever replaced, so working on bytes is safe in every locale.
#' @noRd
json_strings <- function(x) {
  x <- enc2utf8(x)
  if (!all(validUTF8(x))) stop("text that is not UTF-8 cannot be written as JSON")
  x <- gsub("\\", "\\\\", x, fixed = TRUE, useBytes = TRUE)
  x <- gsub("\"", "\\\"", x, fixed = TRUE, useBytes = TRUE)
  if (any(grepl("[\001-\037]", x, useBytes = TRUE))) {
    for (code in 1:31) {
      x <- gsub(intToUtf8(code), sprintf("\\u%04x", code), x, fixed = TRUE, useBytes = TRUE)
    }
  }
  text <- paste0("\"", x, "\"")
  Encoding(text) <- "UTF-8"
  text
}
