# The proof of a function, run in a fresh R process that has only the packages the manifest declares.

# Seconds after which a probe with a missing value is given up: code that waits for an NA to become small never ends.
probe_seconds <- 10

#' As `prove_package()`: what the manifest says of a function was seen here.
#' @noRd
prove_function <- function(dir, example, expected, tie_breaker = NULL, progress = function(...) NULL) {
  before <- process_bytes()
  model <- load_model_package(dir, verify = FALSE)
  load_bytes <- max(0, process_bytes() - before)
  if (is.na(load_bytes)) load_bytes <- as.double(utils::object.size(model$model))
  progress("loads in a fresh R process")

  answer <- first_call(model, example)
  if (!identical(call_loaded(model, example, default_seed), answer, num.eq = FALSE)) {
    abort("called a second time with the same inputs the function answers otherwise: does it read the clock, or ",
      "change variables outside itself? Whether it works is tested by its example, so give what changes as an input")
  }
  compare_calls(expected, answer)
  progress("computes its example as in your session")

  model$signature$inputs <- lapply(model$signature$inputs, function(field) {
    field$nullable <- takes_missing(model, example, field)
    field
  })
  nullable <- Filter(function(field) field$nullable, model$signature$inputs)
  progress("missing values are taken in ",
    if (length(nullable) > 0L) quoted(vapply(nullable, `[[`, "", "name")) else "no input")
  grown <- growth_bytes(function() call_loaded(model, example, default_seed))
  fixed_ms <- median_ms(function() call_loaded(model, example, default_seed), 30L)
  list(
    inputs = model$signature$inputs,
    measured = list(
      load_bytes = load_bytes, fixed_ms = signif(fixed_ms, 4L), row_ms = 0,
      peak_64_rows_bytes = grown$peak, left_64_rows_bytes = grown$left
    ),
    example = call_json(example, answer, model$signature)
  )
}

first_call <- function(model, example) {
  tryCatch(call_loaded(model, example, default_seed), error = function(e) {
    packages <- names(model$manifest$packages)
    abort("in a fresh R process with ", if (length(packages) > 0L) quoted(packages) else "no package", " attached the ",
      "function cannot compute its example: ", condition_text(e), function_advice(condition_text(e)))
  })
}

function_advice <- function(message) {
  if (!grepl("could not find function|object .* not found", message)) {
    return("")
  }
  paste(". Give data and functions of your session by objects=, R files that define them by files=, and declare",
    "packages by packages=")
}

compare_calls <- function(expected, answer) {
  for (name in names(expected)) {
    if (length(expected[[name]]) != length(answer[[name]])) {
      abort("in a fresh R process ", name, " has ", length(answer[[name]]), " values instead of ",
        length(expected[[name]]), ": does the function depend on options() or on variables of your session?")
    }
    if (!close_enough(expected[[name]], answer[[name]])) {
      at <- which(!mapply(identical, expected[[name]], answer[[name]]))[1L]
      abort("in a fresh R process the function answers otherwise than in your session: value ", at, " of ", name,
        " is ", show_value(answer[[name]][at]), " instead of ", show_value(expected[[name]][at]), ". Does it depend ",
        "on options(), on variables of your session, or on the time zone? Give it all it needs by objects= and files=")
    }
  }
}

#' Whether the function answers where this input, or one of its values, is missing.
#' @noRd
takes_missing <- function(model, example, field, within_s = probe_seconds) {
  value <- example[[field$name]]
  if (length(value) == 0L) {
    return(FALSE)
  }
  value[ceiling(length(value) / 2)] <- NA
  example[[field$name]] <- value
  on.exit(setTimeLimit(elapsed = Inf))
  tryCatch(
    {
      setTimeLimit(elapsed = within_s)
      call_loaded(model, example, default_seed)
      TRUE
    },
    error = function(e) FALSE
  )
}

#' A call as JSON values: labels for factors, days for dates, seconds for datetimes.
#' @noRd
call_json <- function(inputs, outputs, signature) {
  sent <- Map(function(value, field) {
    json_array(if (field$type %in% c("factor", "string")) as.character(value) else as.vector(unclass(value)))
  }, inputs, signature$inputs)
  answered <- Map(function(value, field) {
    json_array(if (field$type == "factor") field$levels[value] else value)
  }, outputs, signature$outputs)
  list(inputs = named(sent), outputs = answered)
}
