# Names that a manifest may carry: of a model, of its version, of its columns.

check_model_name <- function(name) {
  if (!is_text(name) || !grepl("^[a-z0-9][a-z0-9-]{0,62}\\z", name, perl = TRUE)) {
    abort("the name ", describe_text(name), " is not a model name: use 1 to 63 lower-case letters, digits and dashes, ",
      "not starting with a dash, as in \"boston-housing\""
    )
  }
}

check_version <- function(version) {
  if (!is_text(version) ||
    !grepl("^[0-9]{1,9}([.][0-9]{1,9}){0,2}(-[A-Za-z0-9._-]+)?\\z", version, perl = TRUE)) {
    abort("the version ", describe_text(version), " is not a version: use \"1\", \"1.2\" or \"1.2.3\", as text; a ",
      "suffix as in \"2-rc1\" is served only to those who name it"
    )
  }
  # Versions are in numerical order, in which 01 is 1: one of them would hide the other.
  number <- sub("-.*", "", version)
  plain <- gsub("(^|[.])0+([0-9])", "\\1\\2", number)
  if (plain != number) {
    abort("the version ", describe_text(version), " has zeros before a number: write ",
      describe_text(paste0(plain, substring(version, nchar(number) + 1L))))
  }
}

check_column_names <- function(names, what) {
  if (anyDuplicated(names)) {
    abort("two ", what, " are called ", dQuote(names[duplicated(names)][1L], FALSE), ": give each its own name")
  }
  bad <- vapply(names, function(name) {
    is.na(name) || !nzchar(name) || !validUTF8(name) || nchar(name) > 128L || startsWith(name, "__") ||
      grepl("[[:cntrl:]]", name)
  }, NA)
  if (any(bad)) {
    abort("the name ", describe_text(names[bad][1L]), " cannot be one of the ", what, ": use 1 to 128 characters, ",
      "none of them a control character, not starting with two underscores"
    )
  }
}

is_text <- function(x) {
  is.character(x) && length(x) == 1L && !is.na(x) && validUTF8(x)
}

describe_text <- function(x) {
  paste(deparse(x, width.cutoff = 60L)[1L], collapse = "")
}
