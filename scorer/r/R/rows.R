# Picking rows of a data.frame; every result has row names 1..n, as a worker's rows have.

take_rows <- function(rows, which) {
  taken <- lapply(rows, function(column) column[which])
  structure(taken, class = "data.frame", row.names = .set_row_names(length(which)))
}

#' At most `count` rows, evenly spread from first to last.
#' @noRd
spread_rows <- function(rows, count) {
  take_rows(rows, spread(nrow(rows), count))
}

spread <- function(length, count) {
  if (length == 0L) return(integer())
  unique(as.integer(round(seq(1, length, length.out = min(length, count)))))
}

#' The rows again and again until there are at least `count`; never fewer than there were.
#' @noRd
tile_rows <- function(rows, count) {
  times <- max(1, ceiling(count / nrow(rows)))
  take_rows(rows, rep(seq_len(nrow(rows)), times))
}

bind_rows <- function(a, b) {
  columns <- Map(function(x, y) {
    joined <- c(if (is.factor(x)) unclass(x) else x, if (is.factor(y)) unclass(y) else y)
    attributes(joined) <- attributes(x)[setdiff(names(attributes(x)), "names")]
    joined
  }, a, b)
  structure(columns, class = "data.frame", row.names = .set_row_names(nrow(a) + nrow(b)))
}
