# R's garbage in a worker: how much of it there is at most, and when R is about to look at all that the zygote shares.
#
# Facts that force what is here. Between two collections R fills its heap with garbage, and in a fork each page of that
# is a copy. An empty R collects at 64 MB; with a model loaded at a third to two thirds of its size. A collection looks
# at what is young, and leaves alone what the fork shares; but after 20 of those comes one that looks further, and after
# five of these a full one, the 126th, which writes into every object there is. A full one that is asked for does not
# start that count anew, and a fork goes on with its parent's.

#: MB of garbage at which an R without a model would collect.
garbage_mb <- 64
#: Collections of a worker, of the 125 it has until a full one, after which it asks to be forked anew.
collections_most <- 100L

#' What counts a worker's collections and has it collect in time
#'
#' R tells of a collection by finalizers alone: what nobody holds is gone with the next one. A finalizer that registers
#' the next counts several in one call; but R loses what it registers where another finalizer is due after it, and
#' `catch_up()` finds that.
#'
#' @return An environment: `every`, calls between two collections at most; `begin()`, once in the fork; `called()` after
#'   each call and `tidy()` when its answer is on its way; `full_is_near()`, whether a full collection comes soon.
#' @noRd
garbage_watch <- function() {
  self <- new.env()
  self$every <- Inf
  calls <- collections <- known <- 0L
  gone <- FALSE
  count <- function() {
    reg.finalizer(new.env(), function(unused) {
      collections <<- collections + 1L
      count()
    })
  }
  look <- function() {
    gone <<- FALSE
    reg.finalizer(new.env(), function(unused) gone <<- TRUE)
  }
  catch_up <- function() {
    if (!gone) {
      return(invisible())
    }
    if (collections == known) {
      collections <<- collections + 1L
      count()
    }
    known <<- collections
    calls <<- 0L
    look()
  }
  self$begin <- function() {
    calls <<- collections <<- known <<- 0L
    count()
    look()
    invisible()
  }
  self$called <- function() {
    calls <<- calls + 1L
    catch_up()
  }
  self$tidy <- function() {
    if (calls >= self$every) {
      gc(full = FALSE)
      catch_up()
    }
  }
  self$full_is_near <- function() {
    catch_up()
    collections >= collections_most
  }
  self
}

#' Calls that make as much garbage as an R without a model lets be, by one of them
#' @noRd
calls_until_garbage <- function(call) {
  gc(full = FALSE, reset = TRUE)
  call()
  memory <- gc(full = FALSE)
  bytes <- sum((memory[, "max used"] - memory[, "used"]) * c(56, 8)) # of a cell, and of a vector's eight bytes
  max(1, floor(garbage_mb * 1e6 / max(bytes, 1e4)))
}

#' Collect until the full collection that comes by itself has been, so that forks have as many as can be until theirs
#'
#' @return Whether it was seen.
#' @noRd
put_off_full_collection <- function() {
  seen <- FALSE
  old <- new.env()
  reg.finalizer(old, function(gone) seen <<- TRUE)
  for (time in 1:2) gc() # now only a full collection finds out that it is gone
  rm(old)
  for (time in 1:130) {
    if (seen) break
    gc(full = FALSE)
  }
  seen
}
