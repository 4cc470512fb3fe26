# Files that packaging writes: whole, or refused with where and what to do. On a full disk saveRDS() and writeBin() lose
# what was still to be written when the file is closed, and say nothing or only warn.

#' Write text as UTF-8 bytes, whatever the locale, with a newline at the end.
#' @noRd
write_utf8 <- function(text, path) {
  bytes <- c(charToRaw(enc2utf8(text)), as.raw(10L))
  try_to_write(path, writeBin(bytes, path))
  if (!identical(file.size(path), as.double(length(bytes)))) not_written(path)
}

#' saveRDS() that has written all of it.
#' @noRd
save_object <- function(object, path) {
  try_to_write(path, saveRDS(object, path))
  if (!is_whole_gzip(path)) not_written(path)
}

#' Copy files; `to` are paths of files.
#' @noRd
copy_whole <- function(from, to) {
  copied <- suppressWarnings(file.copy(from, to))
  lost <- !copied | !(file.size(from) == file.size(to)) %in% TRUE
  if (any(lost)) not_written(to[lost][1L])
}

#' Whether a gzip file ends with the size of what is in it, as it does only if nothing was lost.
#' @noRd
is_whole_gzip <- function(path) {
  size <- file.size(path)
  if (is.na(size) || size < 18) {
    return(FALSE)
  }
  end <- file(path, "rb")
  on.exit(close(end))
  seek(end, size - 4)
  told <- sum(as.integer(readBin(end, "raw", 4L)) * 256^(0:3))
  packed <- gzfile(path, "rb")
  on.exit(close(packed), add = TRUE)
  held <- tryCatch(suppressWarnings(bytes_left(packed)), error = function(e) NA)
  identical(held %% 2^32, told)
}

bytes_left <- function(connection) {
  total <- 0
  while ((read <- length(readBin(connection, "raw", 1e6))) > 0L) total <- total + read
  total
}

try_to_write <- function(path, expression) {
  withCallingHandlers(
    tryCatch(expression, error = function(e) not_written(path, condition_text(e))),
    warning = function(w) tryInvokeRestart("muffleWarning")
  )
}

not_written <- function(path, said = NULL) {
  abort("cannot write ", path, " whole", if (!is.null(said)) paste0(" (", said, ")"), ": is there room on its disk, ",
    "and may you write there? Make room, or give another folder (TMPDIR for those in ", tempdir(), ")")
}
