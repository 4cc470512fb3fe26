# R's half of the wire, asked by test_codec_through_r.py: reads a signature and a frame, makes the data.frame a model would
# see, reduces its columns to base types as predict_rows() does, and writes them as an answer. One folder per line on stdin;
# "done" or "failed: …" per line on stdout.
library(scoregate)

echo <- function(folder) {
  fields <- jsonlite::fromJSON(file.path(folder, "fields.json"), simplifyVector = FALSE)
  rows <- as.integer(readLines(file.path(folder, "rows")))
  body <- readBin(file.path(folder, "in"), raw(), file.size(file.path(folder, "in")))
  codec <- scoregate:::frame_codec(fields)
  newdata <- scoregate:::decode_frame(codec, body, rows)
  stopifnot(is.data.frame(newdata), nrow(newdata) == rows, identical(names(newdata), vapply(fields, `[[`, "", "name")))
  classes <- c(
    double = "numeric", integer = "integer", logical = "logical", string = "character", factor = "factor", date = "Date",
    datetime = "POSIXct"
  )
  for (i in seq_along(fields)) stopifnot(inherits(newdata[[i]], classes[[fields[[i]]$type]]) || fields[[i]]$type == "double")
  columns <- lapply(newdata, function(x) {
    if (is.factor(x)) as.integer(x) else if (inherits(x, c("Date", "POSIXct"))) as.double(unclass(x)) else x
  })
  writeBin(scoregate:::encode_frame(codec, columns, rows), file.path(folder, "out"))
  "done"
}

input <- file("stdin", open = "r")
while (length(folder <- readLines(input, n = 1L)) == 1L) {
  cat(tryCatch(echo(folder), error = function(error) paste("failed:", gsub("\n", " ", conditionMessage(error)))), "\n", sep = "")
  flush(stdout())
}
