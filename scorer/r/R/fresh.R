# A fresh R process for the proof: Rscript --vanilla, one thread, UTC, the reference BLAS where the system has it, the
# library paths of this session, and no package attached but those of the manifest.

# Marks a line of stdout as progress: models print too.
progress_mark <- "scoregate: "

#' Run prove_package(), or prove_function(), in a fresh R process. Marked lines on its stdout are progress; what it
#' returns comes by file.
#' @noRd
prove_in_fresh_process <- function(dir, rows, expected, tie_breaker, progress, prove = "prove_package") {
  work <- tempfile("scoregate-proof-")
  dir.create(work)
  on.exit(unlink(work, recursive = TRUE))
  save_object(
    list(prove = prove, dir = normalizePath(dir), rows = rows, expected = expected, tie_breaker = tie_breaker),
    file.path(work, "request.rds")
  )
  write_utf8(sprintf("get(\"answer_proof_request\", %s)(%s)", load_this_package(), deparse(work)),
    file.path(work, "proof.R"))
  run_rscript(file.path(work, "proof.R"), file.path(work, "stderr"), progress)
  answer <- file.path(work, "result.rds")
  if (!file.exists(answer)) {
    abort("the fresh R process that was to prove the model ended without an answer. It said: ",
      paste(utils::tail(readLines(file.path(work, "stderr"), warn = FALSE), 5L), collapse = " / "))
  }
  result <- readRDS(answer)
  if (!is.null(result$error)) {
    abort(result$error, class = c(result$class, "scoregate_proof_failed"))
  }
  result
}

#' The fresh process's side.
#' @noRd
answer_proof_request <- function(work) {
  request <- readRDS(file.path(work, "request.rds"))
  say <- function(...) {
    cat("\n", progress_mark, ..., "\n", sep = "")
    flush(stdout())
  }
  prove <- get(request$prove, mode = "function")
  result <- tryCatch(
    prove(request$dir, request$rows, request$expected, request$tie_breaker, say),
    error = function(e) list(error = condition_text(e), class = class(e))
  )
  save_object(result, file.path(work, "half"))
  invisible(file.rename(file.path(work, "half"), file.path(work, "result.rds")))
}

#' R code whose value is this very package's namespace: installed or, in its own tests, read from source.
#' @noRd
load_this_package <- function() {
  here <- getNamespaceInfo(topenv(), "path")
  if (!exists(".__DEVTOOLS__", envir = topenv(), inherits = FALSE)) {
    return(sprintf("loadNamespace(\"scoregate\", lib.loc = %s)", deparse(dirname(here))))
  }
  paste0("local({\n  .packageName <- \"scoregate\"\n  for (file in list.files(", deparse(file.path(here, "R")),
    ", full.names = TRUE)) sys.source(file, environment())\n  environment()\n})")
}

run_rscript <- function(script, errors, progress) {
  settings <- c(
    OMP_NUM_THREADS = "1", OMP_THREAD_LIMIT = "1", OPENBLAS_NUM_THREADS = "1", TZ = "UTC", LC_ALL = "C.UTF-8",
    R_LIBS = paste(.libPaths(), collapse = .Platform$path.sep), reference_blas()
  )
  before <- Sys.getenv(names(settings), unset = NA, names = TRUE)
  on.exit({
    Sys.unsetenv(names(before)[is.na(before)])
    if (!all(is.na(before))) do.call(Sys.setenv, as.list(before[!is.na(before)]))
  })
  do.call(Sys.setenv, as.list(settings))
  command <- paste(shQuote(file.path(R.home("bin"), "Rscript")), "--vanilla", shQuote(script), "2>", shQuote(errors))
  lines <- pipe(command, open = "r")
  on.exit(try(close(lines), silent = TRUE), add = TRUE)
  while (length(line <- readLines(lines, n = 1L, warn = FALSE)) > 0L) {
    if (startsWith(line, progress_mark)) progress(substring(line, nchar(progress_mark) + 1L))
  }
  invisible()
}

#' Where Debian and Ubuntu keep the reference BLAS: R_LD_LIBRARY_PATH to pin it, or nothing.
#' @noRd
reference_blas <- function() {
  folders <- file.path("/usr/lib", paste0(R.version$arch, "-linux-gnu"), c("blas", "lapack"))
  if (!all(dir.exists(folders))) {
    return(character())
  }
  c(R_LD_LIBRARY_PATH = paste(c(folders, file.path(R.home("lib"))), collapse = ":"))
}
