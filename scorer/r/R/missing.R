# What a model does with a missing value, found by asking it, column by column: it answers a value, answers NA, fails,
# or silently leaves the row out (then every later answer would move up by one). Facts differ by class, and a row alone
# may fare otherwise than among others, so both are tried.

#' `value`, `na`, `fail` or `drop` for each input, by name.
#'
#' @param model A loaded package with its outputs known.
#' @param rows Complete rows that it scores.
#' @noRd
probe_missing <- function(model, rows) {
  few <- take_rows(tile_rows(spread_rows(rows, 5L), 5L), 1:5)
  names <- vapply(model$signature$inputs, `[[`, "", "name")
  base <- answer_some(model, few)
  answer_some(model, take_rows(few, 1L))
  found <- vapply(names, function(name) probe_column(model, few, base, name), "")
  settle_together(model, rows, found)
}

probe_column <- function(model, few, base, name) {
  holes <- c(1L, 3L, 5L)
  several <- few
  several[[name]][holes] <- NA
  among <- try_columns(model, several)
  alone <- try_columns(model, take_rows(several, 3L))
  alone_answers <- !is.null(alone) && all(lengths(alone) == 1L)
  if (is.null(among)) {
    "fail"
  } else if (all(lengths(among) == 2L)) {
    if (answers_the_others(model, among, lapply(base, `[`, -holes))) "drop" else "fail"
  } else if (!all(lengths(among) == 5L)) {
    "fail"
  } else if (all_missing(among, holes)) {
    # An answer of NA that comes only in company is given by scoring around the row: the same NA, without a failure.
    if (alone_answers && all_missing(alone, 1L)) "na" else "drop"
  } else {
    if (alone_answers) "value" else "fail"
  }
}

#' Whether an answer that left rows out is the rows that it kept, in order.
#' @noRd
answers_the_others <- function(model, columns, others) {
  rows <- length(others[[1L]])
  kept <- tryCatch(reduce_columns(columns, model$signature$outputs, rows), error = function(e) NULL)
  identical(kept, others)
}

#' The classification, weakened until rows with several missing values score, in company and alone.
#' @noRd
settle_together <- function(model, rows, found) {
  scored_around <- replace(found, found == "na", "drop")
  for (candidate in list(found, scored_around, replace(scored_around, scored_around == "value", "fail"))) {
    model$drop <- names(candidate)[candidate == "drop"]
    punched <- punch_holes(spread_rows(rows, 40L), names(candidate)[candidate != "fail"])
    fine <- tryCatch(
      {
        answer_rows(model, punched, default_seed)
        for (i in seq_len(min(nrow(punched), 10L))) answer_rows(model, take_rows(punched, i), default_seed)
        TRUE
      },
      error = function(e) FALSE
    )
    if (fine) {
      return(candidate)
    }
  }
  replace(found, TRUE, "fail")
}

try_columns <- function(model, newdata) {
  tryCatch(answer_columns(raw_answer(model, newdata, default_seed))$columns, error = function(e) NULL)
}

all_missing <- function(columns, rows) {
  all(vapply(columns, function(column) all(is.na(column[rows])), NA))
}

#' Rows with missing values here and there in the named columns, at least one in each row; the same ones each time.
#' @noRd
punch_holes <- function(rows, names) {
  if (length(names) == 0L) {
    return(rows[0L, , drop = FALSE])
  }
  count <- nrow(rows)
  for (j in seq_along(names)) {
    holes <- (seq_len(count) - 1L) %% length(names) == j - 1L | (seq_len(count) * 7L + j * 5L) %% 11L == 0L
    rows[[names[j]]][holes] <- NA
  }
  rows
}
