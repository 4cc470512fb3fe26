# What predicting costs, as information for the scorer's first guesses: it learns better ones while it serves.

#' Memory this process holds, in bytes (`VmRSS`), or at most held (`VmHWM`); NA where the system does not tell.
#' @noRd
process_bytes <- function(what = "VmRSS") {
  status <- tryCatch(readLines("/proc/self/status"), error = function(e) character(), warning = function(w) character())
  line <- grep(paste0("^", what, ":"), status, value = TRUE)
  if (length(line) == 1L) as.numeric(gsub("[^0-9]", "", line)) * 1024 else NA_real_
}

#' Memory that this process shares with no other, in bytes; NA where the system does not tell.
#' @noRd
private_bytes <- function() {
  lines <- tryCatch(readLines("/proc/self/smaps_rollup"), error = function(e) "", warning = function(w) "")
  own <- grep("^Private_(Clean|Dirty):", lines, value = TRUE)
  if (length(own) == 2L) sum(as.numeric(gsub("[^0-9]", "", own))) * 1024 else NA_real_
}

#' How much memory grows at most while a call runs, and how much of that it leaves behind, in bytes; 0 where the
#' system does not tell. What is left is R's garbage until the next collection; copies in C++ are not.
#'
#' A process uses again what it has freed, of which there is much once a large model is loaded, and so does not grow; in
#' a fork, as workers are, that is a copy all the same. So the call is made in both, and more counts.
#' @noRd
growth_bytes <- function(call) {
  invisible(gc())
  tryCatch(cat("5", file = "/proc/self/clear_refs"), error = function(e) NULL, warning = function(w) NULL)
  before <- process_bytes()
  call()
  left <- max(0, process_bytes() - before, na.rm = TRUE)
  peak <- max(left, process_bytes("VmHWM") - before, na.rm = TRUE)
  own <- fork_growth_bytes(call)
  list(peak = max(peak, own), left = max(left, own))
}

#' What a call has made private of a fork, in bytes; 0 where the system does not tell, or the fork does not end.
#' @noRd
fork_growth_bytes <- function(call, seconds = 60) {
  if (is.na(private_bytes())) {
    return(0)
  }
  job <- parallel::mcparallel(
    {
      before <- private_bytes()
      call()
      private_bytes() - before
    },
    mc.set.seed = FALSE, silent = TRUE
  )
  grown <- parallel::mccollect(job, wait = FALSE, timeout = seconds)[[1L]]
  tools::pskill(job$pid, tools::SIGKILL)
  suppressWarnings(parallel::mccollect(job))
  if (is.numeric(grown)) max(0, grown) else 0
}

#' Median milliseconds of a call, from at most `times` calls or one second.
#' @noRd
median_ms <- function(call, times) {
  taken <- numeric()
  while (length(taken) < times && sum(taken) < 1000) {
    start <- Sys.time()
    call()
    taken <- c(taken, as.numeric(Sys.time() - start, units = "secs") * 1000)
  }
  stats::median(taken)
}

measure_cost <- function(model, rows) {
  one <- take_rows(rows, 1L)
  many <- take_rows(tile_rows(rows, 512L), 1:512)
  some <- take_rows(many, 1:64)
  predict_rows(model, some)
  grown <- growth_bytes(function() predict_rows(model, some))
  one_ms <- median_ms(function() predict_rows(model, one), 30L)
  many_ms <- median_ms(function() predict_rows(model, many), 5L)
  row_ms <- max(0, (many_ms - one_ms) / 511)
  list(
    fixed_ms = signif(max(0, one_ms - row_ms), 4L), row_ms = signif(row_ms, 4L),
    peak_64_rows_bytes = grown$peak, left_64_rows_bytes = grown$left
  )
}
