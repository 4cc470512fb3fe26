# The zygote: one R process per model version. It loads the packages and the model once, then forks workers on order.
#
# Orders come as lines on stdin, answers leave as lines on what was stdout; fields are separated by tabs:
#
#   fork ID DIR       -> "forked ID PID" (from the process between), "listening ID" (from the worker itself)
#   warm ROWS FILE MORE FILE -> "warmed MS": predicts the frame in the first FILE as a worker would, some times, and
#                        one of more rows (or of as many) twice
#   (end of input)    -> leaves
#
# At start it says "loaded R-VERSION BLAS-PATH" or "failed MESSAGE"; "warning MESSAGE" may come before. stdout itself
# goes to /dev/null, so nothing that packages or models print can be taken for an answer. Two forks make the worker the
# child of the supervisor (a subreaper), which waits for it; the zygote never does. It predicts nothing but its own
# example, and that only on order: after a throw-away fork has shown that it does no harm.

#' Load a model package and fork workers on order
#'
#' The main function of an R process that `scorer` starts. Reads orders from stdin, returns when stdin ends.
#'
#' @param dir The model package, verified by the supervisor.
#' @return Nothing.
#' @export
run_zygote <- function(dir) {
  orders <- file("stdin", "r")
  answers <- suppressWarnings(file("/proc/self/fd/1", "w"))
  parallel:::closeStdout(TRUE)
  say <- line_writer(answers)
  router <- tryCatch(
    withCallingHandlers(
      build_router(load_model_package(dir, verify = FALSE)),
      warning = function(warning) {
        say("warning", conditionMessage(warning))
        tryInvokeRestart("muffleWarning")
      }
    ),
    error = function(error) {
      say("failed", condition_text(error))
      NULL
    }
  )
  if (is.null(router)) {
    return(invisible())
  }
  unlink(tempdir(), recursive = TRUE) # else the first fork to end would delete it for all
  loadNamespace("compiler") # mcfork needs it: loaded once here, not in each fork
  call_router(router, "GET", "/ping", raw(), 0)
  gc() # all that is left is old, and stays shared when a fork collects what is young
  say("loaded", as.character(getRversion()), extSoftVersion()[["BLAS"]])
  leave <- function(id) {
    function() {
      say("listening", id)
      close(answers)
      close(orders)
      parallel:::closeFD(0L)
      parallel:::closeStderr(TRUE)
    }
  }
  while (length(line <- readLines(orders, n = 1L)) > 0L) {
    order <- strsplit(line, "\t", fixed = TRUE)[[1L]]
    switch(order[1L],
      fork = fork_worker(router, order[2L], order[3L], say, leave(order[2L])),
      warm = say("warmed", warm_up(router, as.numeric(order[c(2L, 4L)]), order[c(3L, 5L)])),
      say("failed", paste("unknown order:", line))
    )
  }
  invisible()
}

#' A function that writes its arguments as one line, tab-separated
#'
#' Forks share the pipe, and two of them may speak at once: a line is one text, so that it is one write, which the
#' kernel does not mix with others (pipe(7): up to 4,096 bytes). `cat` writes each of several texts by itself.
#' @noRd
line_writer <- function(answers) {
  force(answers)
  function(...) {
    cat(paste0(paste(gsub("[\t\r\n]+", " ", c(...)), collapse = "\t"), "\n"), file = answers)
    flush(answers)
  }
}

#' Fork twice: the one between leaves at once, so the worker becomes the supervisor's child
#' @noRd
fork_worker <- function(router, id, dir, say, leave) {
  between <- parallel:::mcfork(estranged = TRUE)
  if (!inherits(between, "masterProcess")) {
    return(invisible())
  }
  tryCatch(
    {
      worker <- parallel:::mcfork(estranged = TRUE)
      if (inherits(worker, "masterProcess")) {
        serve_worker(router, dir, leave)
      }
      say("forked", id, worker$pid)
    },
    finally = parallel:::mcexit(0L)
  )
}

#' Six calls through the whole handler: loads lazy code, compiles, and leaves it to the forks
#' @param rows,paths Of the example, and of a frame of more rows.
#' @return Milliseconds of the third call, as text.
#' @noRd
warm_up <- function(router, rows, paths) {
  calls <- Map(function(rows, path) {
    body <- readBin(path, "raw", file.size(path))
    function() call_router(router, "POST", "/predict", body, rows)
  }, rows, paths)
  took <- vapply(1:3, function(i) system.time(calls[[1L]]())[["elapsed"]], 0)
  calls[[2L]]()
  rates <- garbage_rates(rows, garbage_of(calls[[1L]]), garbage_of(calls[[2L]]))
  router$garbage$per_call <- rates$per_call
  router$garbage$per_row <- rates$per_row
  if (bytes_in_use(gc(full = FALSE)) > much) router$garbage$most <- garbage_most_beside_much
  put_off_full_collection()
  sprintf("%.1f", 1000 * took[3L])
}

#' Call the router as httpuv would
#' @noRd
call_router <- function(router, method, path, body, rows) {
  req <- new.env()
  req$REQUEST_METHOD <- method
  req$PATH_INFO <- path
  req$QUERY_STRING <- ""
  req$HTTP_X_ROWS <- format_rows(rows)
  req$rook.input <- list(read = function(...) body)
  router$call(req)
}
