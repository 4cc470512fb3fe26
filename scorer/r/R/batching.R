# May rows of several callers share one call? Tried, not believed: the whole sample against groups of 1, 2, 3, 7 and 64,
# against another order and another random seed. Small groups matter: a BLAS may agree with itself at 64 rows and not
# at 1.

batch_sizes <- c(1L, 2L, 3L, 7L, 64L)
calls_per_size <- c(150L, 100L, 80L, 40L, 16L)
seconds_per_size <- 5

#' NULL if every answer stayed the same to the last bit, else the reason why the model is not batchable.
#'
#' @param rows Rows the model takes, missing values included.
#' @noRd
reason_not_to_batch <- function(model, rows, progress = function(...) NULL) {
  rows <- tile_rows(rows, 1001L)
  count <- nrow(rows)
  whole <- answer_some(model, rows, default_seed)
  changed <- first_difference(whole, answer_some(model, rows, default_seed + 1L))
  if (!is.null(changed)) {
    return(paste0("the answer uses random numbers: with another seed ", changed))
  }
  order <- order((seq_len(count) * 7919) %% 104729)
  shuffled <- answer_some(model, take_rows(rows, order), default_seed)
  changed <- first_difference(lapply(whole, `[`, order), shuffled, order)
  if (!is.null(changed)) {
    return(paste0("a row's answer depends on the rows beside it: in another order ", changed, blas_note()))
  }
  for (s in seq_along(batch_sizes)) {
    changed <- difference_in_groups(model, rows, whole, batch_sizes[s], calls_per_size[s])
    if (!is.null(changed)) {
      return(paste0("a row's answer depends on the rows beside it: ", changed, blas_note()))
    }
  }
  progress("in groups of ", paste(batch_sizes, collapse = ", "), ", in another order, from another seed: the same bits")
  NULL
}

difference_in_groups <- function(model, rows, whole, size, calls) {
  starts <- spread(nrow(rows) - size + 1L, calls)
  until <- Sys.time() + seconds_per_size
  for (i in seq_along(starts)) {
    which <- seq.int(starts[i], length.out = size)
    answer <- answer_some(model, take_rows(rows, which), default_seed + i %% 2L)
    changed <- first_difference(lapply(whole, `[`, which), answer, which)
    if (!is.null(changed)) {
      return(paste0(if (size == 1L) "alone " else paste0("in a group of ", size, " "), changed))
    }
    if (Sys.time() > until) break
  }
  NULL
}

#' NULL, or a text about the first row where two answers are not the same bits (NA and NaN told apart, as are 0 and -0).
#' @noRd
first_difference <- function(expected, got, rows = seq_along(expected[[1L]])) {
  for (name in names(expected)) {
    if (identical(expected[[name]], got[[name]], num.eq = FALSE)) next
    at <- which(vapply(seq_along(rows), function(i) {
      !identical(expected[[name]][i], got[[name]][i], num.eq = FALSE)
    }, NA))[1L]
    return(paste0("the ", name, " of row ", rows[at], " is ", show_value(got[[name]][at]), " instead of ",
      show_value(expected[[name]][at])))
  }
  NULL
}

show_value <- function(value) {
  if (is.double(value)) sprintf("%.17g", value) else format(value)
}

#' Said when the linear algebra library is not the reference one: another one may be why.
#' @noRd
blas_note <- function() {
  blas <- basename(extSoftVersion()[["BLAS"]])
  if (!nzchar(blas) || grepl("libblas|libRblas", blas)) "" else paste0(" (this R uses ", blas, ")")
}
