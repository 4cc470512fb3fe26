# The Plumber side of a worker: a router with one real route, and what its handler does with a frame.
#
# The router has no filters: query, cookies, shared secret and parsers are of no use between supervisor and worker, and
# the default ones cost more than the rest of the call. Predictions do not pass through its steps either.

#' The router of a worker
#'
#' @param model From `load_model_package()`.
#' @return A Plumber router with `POST /predict` and `GET /ping`. Built once in the zygote; its forks share it.
#' @noRd
build_router <- function(model) {
  envir <- new.env(parent = asNamespace("scoregate"))
  envir$tidy <- tidier()
  envir$garbage <- garbage <- garbage_watch()
  router <- worker_router$new(
    system.file("plumber", "plumber.R", package = "scoregate", mustWork = TRUE),
    filters = NULL, envir = envir
  )
  router$setDebug(FALSE)
  router$garbage <- garbage
  router$answer <- predict_answerer(frame_predictor(model), garbage)
  router
}

#' A Plumber router that has predictions answered before its steps (routes, parsers, hooks, a serializer) begin
#'
#' They cost a quarter of a call and do nothing here. `answer` takes httpuv's request and gives what httpuv sends.
#' @noRd
worker_router <- R6::R6Class("WorkerRouter",
  inherit = plumber::Plumber, cloneable = FALSE,
  public = list(
    answer = NULL,
    garbage = NULL,
    call = function(req) {
      if (identical(req$PATH_INFO, "/predict") && identical(req$REQUEST_METHOD, "POST")) {
        return(self$answer(req))
      }
      super$call(req)
    },
    # A body stays in memory: httpuv puts what it receives into `.bodyData`, and without one of ours into a temporary
    # file, which costs 30 us and where the disk is full is cut short.
    onHeaders = function(req) {
      if (identical(req$REQUEST_METHOD, "POST")) {
        req$.bodyData <- rawConnection(raw(), "w+b")
      }
      NULL
    }
  )
)

#' A function of a request's body and number of rows that returns what to answer
#'
#' @return `function(body, rows)` giving a list with `status`, `body` (raw) and `headers`.
#' @noRd
frame_predictor <- function(model) {
  answer <- if (is.null(model$fun)) rows_answerer(model) else call_answerer(model)
  state <- session_state()
  pid <- Sys.getpid()
  function(body, rows) {
    if (Sys.getpid() != pid) {
      state <<- session_state() # a fork has a folder of its own; then each call finds what the one before it found
      pid <<- Sys.getpid()
    }
    ended <- FALSE
    on.exit({
      state <<- restore_session(state)
      if (!ended) return(refusal("prediction_failed", jumped)) # ends the jump here, at no cost to calls that do not
    })
    answered <- tryCatch(
      {
        list(status = 200L, body = answer(body, rows), headers = list(`X-Rows` = format_rows(rows)))
      },
      scoregate_wrong_length = function(error) refusal("wrong_length", error),
      scoregate_bad_output = function(error) refusal("bad_output", error),
      error = function(error) refusal("prediction_failed", error)
    )
    ended <- TRUE
    answered
  }
}

rows_answerer <- function(model) {
  inputs <- frame_codec(model$signature$inputs)
  outputs <- frame_codec(model$signature$outputs)
  function(body, rows) {
    encode_frame(outputs, answer_rows(model, decode_frame(inputs, body, rows), default_seed), rows)
  }
}

format_rows <- function(rows) sprintf("%.0f", rows)

refusal <- function(code, error) {
  message <- substr(condition_text(error), 1L, 2000L)
  list(status = 500L, body = charToRaw(message), headers = list(`X-Error-Code` = code))
}

# Not an error, so no handler of one sees it.
jumped <- simpleCondition(paste(
  "R left the call for its top level and gave no answer: the code has called invokeRestart(\"abort\"), or stop() with",
  "a condition that is no error. Call stop() with a message instead"
))

#' A function of httpuv's request for a prediction that gives httpuv's response
#' @noRd
predict_answerer <- function(predict_frame, garbage = garbage_watch()) {
  force(predict_frame)
  force(garbage)
  function(req) {
    body <- req$rook.input$read()
    rows <- suppressWarnings(as.numeric(req$HTTP_X_ROWS))
    if (length(rows) != 1L || is.na(rows) || rows < 0) {
      rows <- 0
    }
    pid <- Sys.getpid()
    answer <- predict_frame(body, rows)
    if (Sys.getpid() != pid) {
      tools::pskill(Sys.getpid(), 9L) # the model has forked and this is the copy: two must not answer on one socket
    }
    if (too_many_connections()) {
      answer$headers$`X-Retire` <- "connections"
    }
    garbage$called(rows)
    if (garbage$full_is_near()) {
      answer$headers$`X-Renew` <- "collections"
    }
    answer$headers$`Content-Type` <- "application/octet-stream"
    answer
  }
}

#' Answer a ping. Only idle workers are pinged, so what takes a moment is done here.
#' @noRd
answer_ping <- function(tidy, garbage, res) {
  tidy()
  if (garbage$full_is_near()) res$setHeader("X-Renew", "collections")
  res$body <- "pong"
  res
}

#' A function that, every so many calls, has R use again what earlier calls used
#'
#' Until R collects by itself it takes new cells for each call, and in a fork every page of them is a copy: an idle
#' worker would grow for half an hour by its pings alone. A young collection leaves old cells, which the fork shares,
#' untouched.
#'
#' @param every Calls between two collections.
#' @noRd
tidier <- function(every = 6L) {
  calls <- 0L
  function() {
    calls <<- calls + 1L
    if (calls %% every == 0L) gc(full = FALSE)
    invisible()
  }
}

# --- what a call must not leave behind

session_state <- function() {
  globals <- globalenv()
  list(
    wd = getwd(), options = options(), kept_options = as.list(.Options), locale = Sys.getlocale(),
    tz = Sys.getenv("TZ"), search = search(), kind = RNGkind(),
    seed = get0(".Random.seed", globals, inherits = FALSE), sinks = sink.number(), message_sink = sink.number("message")
  )
}

#' Undo what a call left; returns the state to compare with after the next one
#' @noRd
restore_session <- function(state) {
  while (sink.number() > state$sinks) sink()
  if (sink.number("message") != state$message_sink) sink(type = "message")
  if (!identical(getwd(), state$wd)) setwd(state$wd)
  # As R keeps them what did not change is the same object; options() copies all, and to compare those takes 60 us. What
  # compiled code writes into such an object is not seen.
  if (!identical(as.list(.Options), state$kept_options)) {
    restore_options(state$options)
    state$kept_options <- as.list(.Options)
  }
  if (!identical(Sys.getlocale(), state$locale)) suppressWarnings(Sys.setlocale("LC_ALL", "C.UTF-8"))
  if (!identical(Sys.getenv("TZ"), state$tz)) Sys.setenv(TZ = state$tz)
  if (!identical(now <- search(), state$search)) {
    for (extra in setdiff(now, state$search)) detach(extra, character.only = TRUE)
  }
  if (!identical(RNGkind(), state$kind)) do.call(RNGkind, as.list(state$kind))
  if (is.null(state$seed)) {
    if (exists(".Random.seed", envir = globalenv(), inherits = FALSE)) rm(list = ".Random.seed", envir = globalenv())
  } else {
    assign(".Random.seed", state$seed, envir = globalenv())
  }
  state
}

restore_options <- function(before) {
  now <- options()
  changed <- !vapply(names(before), function(name) identical(now[[name]], before[[name]]), NA)
  added <- setdiff(names(now), names(before))
  options(c(before[changed], stats::setNames(vector("list", length(added)), added)))
}

#' R stops at 128 connections; a worker near that asks to be replaced
#' @noRd
too_many_connections <- function() nrow_connections() > 100L

nrow_connections <- function() length(getAllConnections())
