# Bytes of a frame to a data.frame, and columns to bytes: the R half of the wire (its Python half is shared/wire.py).
#
# A frame is its columns' buffers one after the other, little-endian, in the signature's order. How long each buffer is
# follows from its type, the number of rows, and (strings) the lengths before the text, so there is no header to parse.
#
#   double, date, datetime   8 bytes a row, R's own NA and NaN, payload kept
#   integer, logical         4 bytes a row, NA is -2^31, which is R's own
#   factor                   4 bytes a row, 1-based code of the level, NA as above
#   string                   4 bytes a row (bytes of UTF-8, NA as above), then the text without separators
#
# Neighbouring columns of one width are read by one readBin: a call costs 4 microseconds whatever its length. Of a long
# frame each column is read where the one before it ended: picking it out of the whole costs ten times the reading.

#' Plan the reading and writing of frames with these columns
#'
#' @param fields The signature's `inputs` or `outputs`: a list of lists with `name`, `type` and, for factors,
#'   `levels` and `ordered`.
#' @return A list that `decode_frame()` and `encode_frame()` take. Made once per model, used for every call.
#' @noRd
frame_codec <- function(fields) {
  types <- vapply(fields, function(field) field$type, "")
  wire <- unname(c(
    double = "double", date = "double", datetime = "double", integer = "integer", logical = "integer",
    factor = "integer", string = "string"
  )[types])
  if (anyNA(wire)) {
    stop("The signature has a type this scorer does not know: ", toString(unique(types[is.na(wire)])), call. = FALSE)
  }
  list(
    names = vapply(fields, function(field) field$name, ""),
    types = types,
    runs = neighbours(wire),
    levels = lapply(fields, function(field) enc2utf8(as.character(unlist(field$levels)))),
    finish = lapply(fields, column_finisher)
  )
}

#' Neighbouring columns of one width, to be read together; each string stands alone
#' @noRd
neighbours <- function(wire) {
  if (length(wire) == 0L) {
    return(list())
  }
  starts <- which(c(TRUE, wire[-1L] != wire[-length(wire)] | wire[-1L] == "string"))
  ends <- c(starts[-1L] - 1L, length(wire))
  Map(function(first, last) list(kind = wire[first], columns = first:last), starts, ends)
}

#' What turns the numbers of one column into R's class for its type
#' @noRd
column_finisher <- function(field) {
  switch(field$type,
    logical = as.logical,
    date = function(x) structure(x, class = "Date"),
    datetime = function(x) structure(x, class = c("POSIXct", "POSIXt"), tzone = "UTC"),
    factor = factor_finisher(
      enc2utf8(as.character(unlist(field$levels))),
      if (isTRUE(field$ordered)) c("ordered", "factor") else "factor"
    )
  )
}

factor_finisher <- function(levels, class) {
  force(class)
  function(codes) {
    if (any(codes < 1L | codes > length(levels), na.rm = TRUE)) {
      stop("A factor has a code outside its levels.", call. = FALSE)
    }
    structure(codes, levels = levels, class = class)
  }
}

#' The data.frame of a frame
#'
#' @param codec From `frame_codec()`.
#' @param body Raw vector.
#' @param n Rows, a whole number of at least 0.
#' @return A data.frame with the signature's columns: numeric, integer, logical, character (UTF-8), factor with all
#'   its levels, Date, POSIXct in UTC. Fails unless `body` is exactly such a frame.
#' @noRd
decode_frame <- function(codec, body, n) {
  columns <- vector("list", length(codec$names))
  source <- body
  if (length(body) > long_frame_bytes) {
    source <- rawConnection(body, "rb")
    on.exit(close(source))
  }
  at <- 0
  for (run in codec$runs) {
    if (run$kind == "string") {
      lengths <- read_numbers(source, at, "integer", n)
      at <- at + 4 * n
      missing <- is.na(lengths)
      lengths[missing] <- 0L
      if (any(lengths < 0L)) {
        stop("The frame has a negative length.", call. = FALSE)
      }
      size <- sum(as.double(lengths))
      texts <- read_texts(read_bytes(source, at, size), lengths)
      texts[missing] <- NA_character_
      at <- at + size
      columns[[run$columns]] <- texts
      next
    }
    values <- read_columns(source, at, run$kind, n, length(run$columns))
    at <- at + n * length(run$columns) * if (run$kind == "double") 8 else 4
    columns[run$columns] <- values
  }
  if (at != length(body)) {
    stop("The frame has ", length(body), " bytes where its columns need ", at, ".", call. = FALSE)
  }
  for (index in seq_along(columns)) {
    finish <- codec$finish[[index]]
    if (!is.null(finish)) {
      columns[[index]] <- finish(columns[[index]])
    }
  }
  structure(columns, names = codec$names, row.names = .set_row_names(n), class = "data.frame")
}

# Above this a connection that is read on from where it stands is faster than slices, below its 20 microseconds are not.
long_frame_bytes <- 65536

#' `size` bytes at `at`; of a connection, the next ones
#' @noRd
read_bytes <- function(source, at, size) {
  if (!is.raw(source)) {
    bytes <- readBin(source, "raw", size)
    if (length(bytes) != size) {
      frame_ends()
    }
    return(bytes)
  }
  if (at + size > length(source)) {
    frame_ends()
  }
  if (at == 0 && size == length(source)) {
    return(source)
  }
  if (size == 0) raw() else source[(at + 1):(at + size)] # a third of what at + seq_len(size) takes
}

read_numbers <- function(source, at, kind, count) {
  if (is.raw(source)) {
    source <- read_bytes(source, at, count * if (kind == "double") 8 else 4)
  }
  numbers <- readBin(source, kind, count, endian = "little")
  if (length(numbers) != count) {
    frame_ends()
  }
  numbers
}

#' Neighbouring columns of `n` numbers each
#' @noRd
read_columns <- function(source, at, kind, n, count) {
  if (!is.raw(source)) {
    return(lapply(seq_len(count), function(column) read_numbers(source, at, kind, n)))
  }
  values <- read_numbers(source, at, kind, n * count)
  if (count == 1L) {
    return(list(values))
  }
  rows <- seq_len(n)
  lapply(seq_len(count) - 1L, function(before) values[rows + before * n])
}

frame_ends <- function() {
  stop("The frame ends in the middle of a column.", call. = FALSE)
}

read_texts <- function(bytes, lengths) {
  texts <- readChar(bytes, lengths, useBytes = TRUE)
  Encoding(texts) <- "UTF-8"
  if (!all(validUTF8(texts))) {
    stop("The frame has text that is not UTF-8.", call. = FALSE)
  }
  texts
}

#' The bytes of a frame with these columns
#'
#' @param codec From `frame_codec()` of the outputs.
#' @param columns A named list of plain vectors, one per output, each of length `n`.
#' @param n Rows.
#' @return Raw vector. Fails with class `scoregate_bad_output` where a column is not what the signature says.
#' @noRd
encode_frame <- function(codec, columns, n) {
  if (!identical(names(columns), codec$names)) {
    bad_output("the model answered other columns than its signature names")
  }
  parts <- vector("list", length(columns))
  for (index in seq_along(columns)) {
    column <- columns[[index]]
    name <- codec$names[index]
    if (length(column) != n) {
      bad_output("output ", sQuote(name, FALSE), " has ", length(column), " values for ", n, " rows")
    }
    parts[[index]] <- switch(codec$types[index],
      double = ,
      date = ,
      datetime = write_double(column, name),
      integer = ,
      logical = write_integer(column, name),
      factor = write_codes(column, name, length(codec$levels[[index]])),
      string = write_texts(column, name)
    )
  }
  if (length(parts) == 1L) parts[[1L]] else do.call(c, parts)
}

bad_output <- function(...) {
  stop(errorCondition(paste0(...), class = "scoregate_bad_output"))
}

write_double <- function(x, name) {
  if (!is.numeric(x)) {
    bad_output("output ", sQuote(name, FALSE), " should be numbers, not ", typeof(x))
  }
  writeBin(as.double(x), raw(), endian = "little")
}

write_integer <- function(x, name) {
  if (!is.integer(x) && !is.logical(x)) {
    bad_output("output ", sQuote(name, FALSE), " should be integers or logicals, not ", typeof(x))
  }
  writeBin(as.integer(x), raw(), endian = "little")
}

write_codes <- function(x, name, n_levels) {
  if (!is.integer(x) || any(x < 1L | x > n_levels, na.rm = TRUE)) {
    bad_output("output ", sQuote(name, FALSE), " should be codes of its ", n_levels, " levels")
  }
  writeBin(as.integer(x), raw(), endian = "little")
}

write_texts <- function(x, name) {
  if (!is.character(x)) {
    bad_output("output ", sQuote(name, FALSE), " should be text, not ", typeof(x))
  }
  x <- enc2utf8(x)
  if (!all(validUTF8(x))) {
    bad_output("output ", sQuote(name, FALSE), " is not UTF-8")
  }
  missing <- is.na(x)
  lengths <- nchar(x, "bytes")
  lengths[missing] <- NA_integer_
  c(
    writeBin(as.integer(lengths), raw(), endian = "little"),
    charToRaw(paste(x[!missing], collapse = ""))
  )
}
