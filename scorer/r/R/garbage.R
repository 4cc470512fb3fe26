# R's garbage in a worker: how much of it there is at most, and when R is about to look at all that the zygote shares.
#
# Facts that force what is here. Between two collections R fills its heap with garbage, and in a fork each page of that
# is a copy. An empty R collects at 64 MB; with a model loaded at a third to two thirds of its size. A collection looks
# at what is young, and leaves alone what the fork shares; but after 20 of those comes one that looks further, and after
# five of these a full one, the 126th, which writes into every object there is. A full one that is asked for does not
# start that count anew, and a fork goes on with its parent's.

#: Bytes of garbage at which an R without a model would collect; and that workers of a large model may have at most, for
#: N of them have it beside one model.
garbage_most <- 64e6
garbage_most_beside_much <- 16e6
#: Of what `gc()` counts: a cell, and a vector's eight bytes.
cell_bytes <- c(56, 8)
#: Bytes in an R with packages and a large model.
much <- 200e6
#: Collections of a worker, of the 125 it has until a full one, after which it asks to be forked anew.
collections_most <- 100L

#' What counts a worker's collections and has it collect in time
#'
#' R tells of a collection by finalizers alone: what nobody holds is gone with the next one. A finalizer that registers
#' the next counts several in one call; but R loses what it registers where another finalizer is due after it, and
#' `catch_up()` finds that.
#'
#' @return An environment: `per_call` and `per_row`, bytes of garbage that a call makes, and the `most` there may be;
#'   `begin()`, once in the fork; `called(rows)` after each call and `tidy()` when its answer is on its way;
#'   `full_is_near()`, whether a full collection comes soon.
#' @noRd
garbage_watch <- function() {
  self <- new.env()
  self$per_call <- self$per_row <- made <- 0
  self$most <- garbage_most
  collections <- known <- 0L
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
    made <<- 0
    look()
  }
  self$begin <- function() {
    made <<- 0
    collections <<- known <<- 0L
    count()
    look()
    invisible()
  }
  self$called <- function(rows = 0) {
    made <<- made + self$per_call + rows * self$per_row
    catch_up()
  }
  self$tidy <- function() {
    if (made >= self$most) {
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

#' Bytes of garbage that a call leaves
#' @noRd
garbage_of <- function(call) {
  gc(full = FALSE, reset = TRUE)
  call()
  memory <- gc(full = FALSE)
  sum((memory[, "max used"] - memory[, "used"]) * cell_bytes)
}

#' What R holds, by what `gc()` says
#' @noRd
bytes_in_use <- function(memory) sum(memory[, "used"] * cell_bytes)

#' What a call makes at least, and what each of its rows adds, from calls of few rows and of many
#' @noRd
garbage_rates <- function(rows, few, many) {
  per_row <- if (rows[2L] > rows[1L]) max(0, (many - few) / (rows[2L] - rows[1L])) else 0
  list(per_call = max(1e4, few - rows[1L] * per_row), per_row = per_row)
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
