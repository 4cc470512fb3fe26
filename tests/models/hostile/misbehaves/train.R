# For tests: a model that does what the text in `act` says, then answers 2 x: everything that code in a scorer can do to
# the process it runs in. Rows that say "none" are scored like any other model's, so the proof sees nothing of it.
# Rscript train.R OUTDIR [VERSION]
arguments <- commandArgs(trailingOnly = TRUE)

misbehave <- function(model, newdata) {
  for (act in setdiff(unique(newdata$act), "none")) {
    switch(act,
      error = stop("this row is poisoned"),
      signal = tools::pskill(Sys.getpid(), 11L),
      segfault = .Fortran(stats:::C_eureka, 100000000L, 1, 1, 1, 1, 1), # writes where there is no memory
      loop = repeat {},
      loop_in_c = stats::rsignrank(1000, 2e9), # minutes in C, where R cannot be interrupted
      nap = Sys.sleep(0.5),
      leak = assign(sprintf("leak%.0f", length(ls(model$kept))), rep(1.5, 50 * 2^17), envir = model$kept),
      quit = quit(save = "no"),
      quit_for_good = .Internal(quit("no", 0L, FALSE)),
      stdout = {
        for (i in 1:50) cat(strrep("x", 1e6))
        system("head -c 1000000000 /dev/zero")
      },
      stderr = {
        for (i in 1:20) message(strrep("x", 1e6))
        system("head -c 1000000000 /dev/zero >&2")
      },
      session = {
        setwd("/")
        options(digits = 3, OutDec = ",", scipen = 100, warn = 2, stringsAsFactors = TRUE, na.action = "na.pass")
        Sys.setlocale("LC_ALL", "C")
        Sys.setenv(TZ = "Asia/Tokyo", LANG = "C")
        set.seed(99, kind = "Wichmann-Hill")
        stats::runif(5)
      },
      connections = for (i in 1:1000) model$kept$open <- c(model$kept$open, list(file(tempfile(), "w"))),
      children = {
        for (i in 1:5) parallel::mcparallel(Sys.sleep(600))
        system("sleep 600", wait = FALSE)
        system("setsid sleep 600 </dev/null >/dev/null 2>&1 &")
      },
      twin = parallel:::mcfork(), # two processes return from this call, on one socket
      stop_self = tools::pskill(Sys.getpid(), 19L),
      disk = {
        full <- file("full", "wb")
        repeat writeBin(raw(1e6), full)
      },
      stop("no such act: ", act)
    )
  }
  2 * newdata$x
}

set.seed(7)
scoregate::package_model(
  list(kept = new.env()),
  name = "misbehaves", version = if (is.na(arguments[2])) "1" else arguments[2], dir = arguments[1],
  predict = misbehave, sample = data.frame(x = c(0.1, -2.5, 1e300, 0, stats::rnorm(20)), act = "none"),
  description = "Does what a row says (for tests)"
)
