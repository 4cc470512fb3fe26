# R's own answers of a packaged model, for comparing with the gateway's: what `scoregate verify` runs.
#
#   Rscript --vanilla expected.R PACKAGE_DIR DATA.csv|DATA.bin OUT.bin
#
# PACKAGE_DIR  a model package (manifest.json, model.rds ...).
# DATA.csv     UTF-8 with a header line; the signature's columns by name, others ignored; cells parsed by the
#              signature's types; empty cells and NA are missing.
# DATA.bin     one frame: the row count as INT32, then the buffers of the signature's inputs in order, little-endian, as
#              in shared/wire.py: FP64 for double, date (days) and datetime (seconds), INT32 for integer, logical and
#              factor (1-based code), and for string INT32 lengths followed by the UTF-8 bytes. Missing: NA_integer_
#              (-2147483648) or any NaN.
# OUT.bin      the outputs, as one frame of the same form.
#
# All rows are scored in one call of scoregate::predict_rows(). Status 0, or 1 with one line "Error: ..." on stderr.

read_frame <- function(path, fields) {
  file <- file(path, "rb")
  on.exit(close(file))
  rows <- readBin(file, "integer", 1L, size = 4L, endian = "little")
  columns <- lapply(fields, function(field) {
    switch(field$type,
      double = readBin(file, "double", rows, size = 8L, endian = "little"),
      date = structure(readBin(file, "double", rows, size = 8L, endian = "little"), class = "Date"),
      datetime = structure(readBin(file, "double", rows, size = 8L, endian = "little"),
        class = c("POSIXct", "POSIXt"), tzone = "UTC"
      ),
      integer = readBin(file, "integer", rows, size = 4L, endian = "little"),
      logical = as.logical(readBin(file, "integer", rows, size = 4L, endian = "little")),
      factor = structure(readBin(file, "integer", rows, size = 4L, endian = "little"),
        levels = field$levels, class = if (isTRUE(field$ordered)) c("ordered", "factor") else "factor"
      ),
      string = read_strings(file, rows)
    )
  })
  names(columns) <- vapply(fields, `[[`, "", "name")
  structure(columns, class = "data.frame", row.names = .set_row_names(rows))
}

read_strings <- function(file, rows) {
  lengths <- readBin(file, "integer", rows, size = 4L, endian = "little")
  bytes <- readBin(file, "raw", sum(lengths, na.rm = TRUE))
  ends <- cumsum(ifelse(is.na(lengths), 0L, lengths))
  text <- vapply(seq_along(lengths), function(i) {
    if (is.na(lengths[i])) NA_character_ else rawToChar(bytes[seq.int(to = ends[i], length.out = lengths[i])])
  }, "")
  Encoding(text) <- "UTF-8"
  text
}

write_frame <- function(columns, fields, rows, path) {
  file <- file(path, "wb")
  on.exit(close(file))
  writeBin(rows, file, size = 4L, endian = "little")
  for (i in seq_along(fields)) {
    values <- columns[[i]]
    if (fields[[i]]$type != "string") {
      writeBin(if (is.logical(values)) as.integer(values) else values, file, endian = "little")
      next
    }
    lengths <- nchar(values, "bytes", keepNA = TRUE)
    writeBin(as.integer(lengths), file, size = 4L, endian = "little")
    for (text in values[!is.na(values)]) writeBin(charToRaw(text), file)
  }
}

main <- function(arguments) {
  if (length(arguments) != 3L) stop("give PACKAGE_DIR, DATA.csv or DATA.bin, and OUT.bin")
  model <- scoregate::load_model_package(arguments[1L])
  inputs <- model$signature$inputs
  rows <- if (grepl("[.]csv$", arguments[2L], ignore.case = TRUE)) {
    scoregate:::rows_from_text(scoregate:::read_csv_text(arguments[2L]), inputs)
  } else {
    read_frame(arguments[2L], inputs)
  }
  write_frame(scoregate::predict_rows(model, rows), model$signature$outputs, nrow(rows), arguments[3L])
}

tryCatch(main(commandArgs(trailingOnly = TRUE)), error = function(e) {
  message("Error: ", conditionMessage(e))
  quit(save = "no", status = 1L)
})
