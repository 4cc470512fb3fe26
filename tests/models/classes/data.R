# Rows with every type of column, and responses of every kind that the classes of fits.R want.

typed_rows <- function(count, seed) {
  set.seed(seed)
  pick <- function(...) sample(c(...), count, TRUE)
  rows <- data.frame(
    x = rnorm(count), z = runif(count, 1, 9), i = sample.int(20L, count, TRUE), l = pick(TRUE, FALSE, FALSE),
    f = factor(pick("low", "mid", "Zoo \u00e9, \"so\""), levels = c("mid", "low", "Zoo \u00e9, \"so\"")),
    o = factor(pick("S", "M", "L"), levels = c("S", "M", "L"), ordered = TRUE),
    s = pick("", "a", "caf\u00e9", "na\u00efve, quoted"),
    d = as.Date("2024-01-01") + sample.int(300L, count, TRUE),
    t = as.POSIXct("2024-01-01", tz = "UTC") + runif(count, 0, 3e7)
  )
  score <- rows$x + 0.3 * rows$z + rows$l + (rows$f == "low") + 0.4 * as.integer(rows$o)
  rows$y <- score + rnorm(count, sd = 0.3)
  rows$two <- factor(ifelse(score + rnorm(count) > 3, "yes", "no"))
  rows$three <- factor(c("c", "a", "b")[1L + (score + rnorm(count) > 2.4) + (score + rnorm(count) > 3.8)])
  rows$count <- rpois(count, exp(0.2 * score))
  rows$time <- rexp(count, exp(0.3 * score - 2))
  rows$status <- rbinom(count, 1L, 0.8)
  rows
}

#' Rows as CSV for `scoregate verify`: numbers with all their digits, times in UTC, NA for missing.
write_rows <- function(rows, path) {
  cells <- lapply(rows, function(column) {
    text <- if (inherits(column, "POSIXct")) {
      micro <- as.integer(round((as.numeric(column) %% 1) * 1e6))
      paste0(format(column, "%Y-%m-%dT%H:%M:%S", tz = "UTC"), sprintf(".%06dZ", pmin(micro, 999999L)))
    } else if (is.double(column) && !is.object(column)) {
      sprintf("%.17g", column)
    } else {
      as.character(column)
    }
    quoted <- paste0("\"", gsub("\"", "\"\"", enc2utf8(text), fixed = TRUE), "\"")
    ifelse(is.na(column), "NA", quoted)
  })
  lines <- c(paste(names(rows), collapse = ","), do.call(paste, c(unname(cells), sep = ",")))
  writeLines(enc2utf8(lines), path, useBytes = TRUE)
}
