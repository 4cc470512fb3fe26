# A worker: a fork of a zygote that answers one prediction at a time on its own unix socket until it is killed.
#
# Facts that force what is here: a fork shares the zygote's stdin, stdout and tempdir(); model code may print, quit,
# change directory; mcfork turns the compiler off in the child; the fork must never return into the zygote's loop.

#' Become a worker; does not return
#'
#' @param router From `build_router()`.
#' @param dir This worker's own directory (mode 0700): socket `s`, working directory and temporary files.
#' @param leave Function that closes what the fork shares with the zygote; called once the socket listens.
#' @noRd
serve_worker <- function(router, dir, leave) {
  tryCatch(
    {
      Sys.setenv(TMPDIR = dir)
      tempdir(check = TRUE)
      setwd(dir)
      disable_quit()
      httpuv::startPipeServer(file.path(dir, "s"), strtoi("177", 8L), router, quiet = TRUE)
      compiler::enableJIT(3L) # after the server: compiling what starts it costs more than running it once
      router$garbage$begin()
      leave()
      repeat {
        later::run_now(Inf)
        router$garbage$tidy() # the answer is on its way by now
      }
    },
    finally = parallel:::mcexit(70L)
  )
}

#' `quit()` in model code must not take the worker down without an answer
#' @noRd
disable_quit <- function() {
  refuse <- function(...) stop("quit() is off: a model cannot end its worker.", call. = FALSE)
  for (name in c("quit", "q")) {
    unlockBinding(name, baseenv())
    assign(name, refuse, envir = baseenv())
    lockBinding(name, baseenv())
  }
}
