#' Package a fitted model
#'
#' Writes a folder with `manifest.json`, `model.rds` and, where the model needs its own code, `score.R`: all that a
#' scorer needs. The signature is read off `sample`; what the manifest claims is proven in a fresh R process that has
#' only the declared packages: that the model scores its sample, what it does with missing values, and whether rows
#' of several callers may share a call (`batchable`).
#'
#' @param model The fitted model, any object that `predict()` or your own `predict` function takes.
#' @param name 1 to 63 lower-case letters, digits and dashes.
#' @param version `"1"`, `"1.2"` or `"1.2.3"`, without leading zeros, with an optional suffix (`"2-rc1"`) that is served
#'   only to those who name it.
#' @param sample A data.frame of training data, with or without the response; hundreds of rows are good, thousands are
#'   fine. Its columns' classes, levels and ranges become the signature, its answers the proof.
#' @param dir The folder to write: new, empty, or an earlier package of a model, which is replaced.
#' @param predict NULL for the class's own way, a `function(model, newdata)`, or the path of an R file that defines
#'   `predict_model <- function(model, newdata)`. It returns one value per row, in order: a vector, factor, matrix,
#'   data.frame or named list of vectors.
#' @param packages Names of further packages to attach when the model is loaded. Those of the model's class, of
#'   functions in its formula and of `pkg::fun` in `predict` are found.
#' @param description One line for those who call it.
#' @param slim TRUE leaves out what predicting does not need (training data, residuals, captured frames), if the answers
#'   stay identical.
#' @param interval,level For lm: `"prediction"` or `"confidence"` gives `fit`, `lwr`, `upr` at that level.
#' @param options A named list of what the class takes (`s` for glmnet, `n.trees` for gbm, `times` for coxph ...; for a
#'   class of its own the arguments of `predict()`), fixed here: text, numbers, TRUE or FALSE.
#' @param inputs Names of the columns a caller sends, where neither the model's terms nor your code tell.
#' @param files Paths of files that `predict` needs. R files are sourced before it, with the package's folder as working
#'   directory, so they may read the others.
#' @param retry Whether a request may be scored again elsewhere if a pod is lost: FALSE for code with side effects.
#' @param quiet TRUE says nothing.
#' @return The folder's path, invisibly.
#' @examples
#' \dontrun{
#' fit <- lm(dist ~ speed, cars)
#' package_model(fit, "cars-interval", "1", sample = cars, dir = "cars-interval", interval = "prediction")
#' publish_model("cars-interval", "file:///srv/models")
#' }
#' @export
package_model <- function(model, name, version, sample, dir, predict = NULL, packages = NULL, description = "",
                          slim = FALSE, interval = NULL, level = 0.95, options = list(), inputs = NULL, files = NULL,
                          retry = TRUE, quiet = FALSE) {
  need_arguments(
    c("model", "name", "version", "sample", "dir"),
    'package_model(fit, "cars", "1", sample = cars, dir = "cars")'
  )
  if (is.function(model) && !is.object(model) && is.null(predict)) {
    abort_argument("model is a function, not a fitted model: package it by package_function(), which asks for its ",
      "inputs, its outputs and an example")
  }
  say <- if (isTRUE(quiet)) function(...) invisible() else function(...) message(...)
  if (is.numeric(version) && length(version) == 1L && version == trunc(version)) version <- format(version)
  check_model_name(name)
  check_version(version)
  check_description(description)
  sample <- check_sample(sample)
  check_predict(predict, files)
  check_target(dir)

  if (is.null(interval) && !missing(level)) {
    abort_argument("level= is that of an interval: give interval = \"prediction\" or \"confidence\" too, or leave ",
      "level= out")
  }
  if (!is.null(interval)) {
    if (model_method(model) != "lm") {
      abort_argument("interval= is for lm: for ", class(model)[1L], " give predict = function(model, newdata) ...")
    }
    options <- c(options, list(interval = interval, level = level))
  }
  way <- choose_way(model, predict, options)
  say(name, " ", version, ": ", way$said)
  load_packages(c(packages, model_packages(model)))
  draft <- tempfile(".package-", tmpdir = dirname(normalizePath(dir, mustWork = FALSE)))
  dir.create(draft, recursive = TRUE)
  on.exit(unlink(draft, recursive = TRUE))
  if (way$method == "script") write_script(predict, files, draft)

  columns <- input_columns(model, sample, inputs, way, draft, say)
  sample <- sample[columns]
  fields <- describe_inputs(sample, model_levels(model, sample))
  rows <- rebuild_rows(sample, fields)
  answer <- session_answer(way, draft, sample)
  expected <- answer(model)

  slimmed <- consider_slimming(model, way, answer, slim, say)
  save_object(slimmed$model, file.path(draft, "model.rds"))

  manifest <- list(
    format = "scoregate.model/1", name = name, version = version,
    created = format(Sys.time(), "%Y-%m-%dT%H:%M:%SZ", tz = "UTC"), description = description,
    r_version = as.character(getRversion()), model_class = json_array(class(model)),
    packages = declared_packages(model, way, packages, draft), files = describe_files(draft),
    predict = list(method = way$method, options = named(way$options)),
    signature = list(inputs = lapply(fields, field_json), outputs = list(), kind = "vector")
  )
  write_manifest(manifest, draft)
  tie_breaker <- if (way$method != "script") model_tie_breaker(model)
  proven <- prove_in_fresh_process(draft, rows, if (answer_repeats(answer, model, expected)) expected, tie_breaker,
    function(...) say("  ", ...))

  manifest$signature <- list(inputs = lapply(proven$inputs, field_json), outputs = lapply(proven$outputs, field_json),
    kind = proven$kind)
  manifest <- c(manifest, list(batchable = is.null(proven$batchable_reason)),
    stats::setNames(list(proven$batchable_reason), "batchable_reason"),
    list(retry = isTRUE(retry), measured = proven$measured, example = proven$example))
  write_manifest(manifest, draft)
  move_into_place(draft, dir)
  summarise_package(manifest, proven, dir, say)
  invisible(dir)
}

# --- what was given

check_description <- function(description) {
  if (!is_text(description) || nchar(description) > 2000L) {
    abort("description must be one text of at most 2,000 characters")
  }
}

check_sample <- function(sample) {
  if (!is.data.frame(sample) || nrow(sample) == 0L || ncol(sample) == 0L) {
    abort("sample must be a data.frame with some rows of the training data; it is ", describe_value(sample))
  }
  sample <- as.data.frame(sample)
  times <- vapply(sample, inherits, NA, "POSIXlt")
  sample[times] <- lapply(sample[times], as.POSIXct)
  sample
}

check_predict <- function(predict, files) {
  of_file <- is_text(predict) && grepl("[.][rR]$", predict) && file.exists(predict)
  if (!is.null(predict) && !is.function(predict) && !of_file) {
    abort_argument("predict must be a function(model, newdata) or the path of an R file that defines predict_model")
  }
  if (is.null(predict) && length(files) > 0L) {
    abort_argument("files= are for a predict function of your own: give predict= too, or leave files= out")
  }
}

check_target <- function(dir) {
  if (!is_text(dir) || !nzchar(dir)) {
    abort("dir must be the path of the folder to write")
  }
  if (file.exists(dir) && !dir.exists(dir)) {
    abort(dir, " is a file: give the path of a folder to write")
  }
  if (length(list.files(dir, all.files = TRUE, no.. = TRUE)) > 0L && !file.exists(file.path(dir, "manifest.json"))) {
    abort(dir, " has files in it and is not a model package: give the path of a new or empty folder")
  }
}

# --- how it predicts

#' The method written in the manifest, and its options.
#' @noRd
choose_way <- function(model, predict, options) {
  class <- model_method(model)
  if (!is.null(predict)) {
    if (length(options) > 0L) {
      abort_argument("options and interval are for predict(): with predict= write them into it")
    }
    said <- paste0(class(model)[1L], ", answered by your own predict function")
    return(list(method = "script", options = list(), said = said))
  }
  if (length(options) > 0L && (is.null(names(options)) || !all(vapply(options, is_plain_option, NA)))) {
    abort_argument("options must be a named list of single texts, TRUE or FALSE, or numbers, one or several; anything ",
      "else belongs into predict=")
  }
  options <- tryCatch(model_options(model, as.list(options)), scoregate_error = function(e) {
    abort_argument(conditionMessage(e))
  })
  said <- if (class == "default") paste0(class(model)[1L], ", answered by predict(model, newdata)") else class
  list(method = class, options = options, said = said)
}

is_plain_option <- function(option) {
  is.atomic(option) && !is.object(option) && (length(option) == 1L || is.numeric(option) && length(option) > 0L) &&
    typeof(option) %in% c("double", "integer", "logical", "character") && !anyNA(option) &&
    (!is.numeric(option) || all(is.finite(option)))
}

input_columns <- function(model, sample, said, way, draft, say) {
  told <- model_inputs(model)
  code <- list.files(draft, "[.][rR]$", full.names = TRUE)
  named <- if (length(code) > 0L) names_in_code(code) else character()
  if (is.null(told) && is.null(said)) {
    told <- enough_columns(intersect(names(sample), named), model, sample, way, draft)
    if (!is.null(told)) {
      say("  takes ", quoted(told), ", which its code names and which are enough for the same answers: inputs= takes ",
        "other columns")
    }
  }
  if (!is.null(told) && length(code) == 0L && is.null(said)) refuse_absent_columns(told, model, sample)
  columns <- choose_columns(sample, told, said, named)
  if (length(columns) == 0L) {
    abort("the model uses none of the sample's columns (", quoted(names(sample)), "): name them by inputs=")
  }
  columns
}

#' The columns that code names, if it answers by them alone what it answers by the whole sample; else NULL.
#'
#' Code that names some may use all (`rowSums(newdata) - newdata$x`), and a name of its own may be a column's.
#' @noRd
enough_columns <- function(named, model, sample, way, draft) {
  if (length(named) == 0L || length(named) == ncol(sample)) {
    return(NULL)
  }
  complete <- stats::complete.cases(sample)
  if (!any(complete)) complete <- stats::complete.cases(sample[named])
  rows <- take_rows(sample, which(complete))
  answer <- function(columns) tryCatch(session_answer(way, draft, rows[columns])(model), error = function(e) NULL)
  some <- answer(named)
  whole <- answer(names(sample))
  if (!is.null(some) && (is.null(whole) || identical(some, whole, num.eq = FALSE))) named
}

#' A name in the terms that is no column may be a constant of the session; a column that the model was fitted on is not.
#' @noRd
refuse_absent_columns <- function(told, model, sample) {
  terms <- tryCatch(stats::terms(model), error = function(e) NULL)
  fitted_on <- if (inherits(terms, "terms")) names(attr(terms, "dataClasses")) else told
  absent <- setdiff(intersect(told, fitted_on), names(sample))
  if (length(absent) > 0L) {
    abort("the model uses ", quoted(absent), ", which the sample does not have: give a sample of the data it was ",
      "fitted on, with the same column names")
  }
}

#' A function of a model that answers for the sample as it was given, in this session, as columns.
#' @noRd
session_answer <- function(way, draft, sample) {
  complete <- stats::complete.cases(sample)
  if (!any(complete)) complete[] <- TRUE
  rows <- take_rows(sample, which(complete))
  function(model) {
    predictor <- predictor_for(way$method, model, way$options, draft, stats::setNames(nm = list.files(draft)))
    answer <- keep_seed(tryCatch(raw_answer(list(predictor = predictor), rows, default_seed), error = function(e) {
      abort("the model cannot score its own sample: ", condition_text(e), ". ", advice(condition_text(e)))
    }))
    columns <- answer_columns(answer)$columns
    short <- names(columns)[lengths(columns) != nrow(rows)]
    if (length(short) > 0L) {
      abort("the model answers ", length(columns[[short[1L]]]), " values for the sample's ", nrow(rows), " rows: it ",
        "must give one per row, in order. package_model(predict = function(model, newdata) ...) can see to that")
    }
    columns
  }
}

#' Evaluate without moving the session's random numbers.
#' @noRd
keep_seed <- function(expression) {
  had <- get0(".Random.seed", envir = globalenv(), inherits = FALSE)
  on.exit(if (is.null(had)) {
    rm(".Random.seed", envir = globalenv())
  } else {
    assign(".Random.seed", had, envir = globalenv())
  })
  expression
}

#' Whether the session gives the same answer twice; if not there is nothing to compare a fresh process with.
#' @noRd
answer_repeats <- function(answer, model, expected) {
  identical(answer(model), expected, num.eq = FALSE)
}

consider_slimming <- function(model, way, answer, slim, say) {
  slimmed <- slim_model(model, answer)
  if (!slim) {
    if (slimmed$before - slimmed$after > 100000 && slimmed$after < 0.8 * slimmed$before) {
      say("  ", size_text(slimmed$before), " uncompressed, ", size_text(slimmed$after), " without what predicting ",
        "does not need: slim = TRUE leaves that out, with the same answers")
    }
    return(list(model = model))
  }
  if (is.null(slimmed$why)) {
    say("  slimmed from ", size_text(slimmed$before), " to ", size_text(slimmed$after), "; its answers are identical")
  } else {
    say("  not slimmed: ", slimmed$why)
  }
  slimmed
}

#' So that predict() finds its methods also for a model that was read from a file.
#' @noRd
load_packages <- function(packages) {
  for (name in packages) {
    if (!requireNamespace(name, quietly = TRUE)) {
      abort("this R cannot load the package ", quoted(name), ": install it, or correct packages=")
    }
  }
}

declared_packages <- function(model, way, packages, draft) {
  terms <- tryCatch(stats::terms(model), error = function(e) NULL)
  found <- c(
    packages,
    model_packages(model),
    if (inherits(terms, "terms")) packages_called(attr(terms, "variables"), environment(terms)),
    unlist(lapply(list.files(draft, "[.][rR]$", full.names = TRUE), function(path) {
      unlist(lapply(parse(path, keep.source = FALSE), packages_called))
    }))
  )
  packages_with_versions(found)
}

packages_with_versions <- function(found) {
  found <- sort(setdiff(unique(found), c(always_attached, "scoregate")), method = "radix")
  load_packages(found)
  named(stats::setNames(lapply(found, package_version_text), found))
}

# --- the manifest

#' An empty list that is written as an object.
#' @noRd
named <- function(list) {
  if (length(list) == 0L) stats::setNames(list(), character()) else list
}

describe_files <- function(dir) {
  files <- sort(setdiff(list.files(dir, all.files = TRUE, no.. = TRUE), "manifest.json"), method = "radix")
  stats::setNames(lapply(file.path(dir, files), function(path) {
    list(sha256 = file_sha256(path), size = as.double(file.size(path)))
  }), files)
}

field_json <- function(field) {
  field$levels <- if (!is.null(field$levels)) json_array(field$levels)
  field$ordered <- if (isTRUE(field$ordered)) TRUE
  field[intersect(c("name", "type", "nullable", "levels", "ordered", "range", "missing", "vector"), names(field))]
}

write_manifest <- function(manifest, dir) {
  write_utf8(json_text(manifest, depth = 3L), file.path(dir, "manifest.json"))
}

move_into_place <- function(draft, dir) {
  old <- NULL
  if (dir.exists(dir)) {
    old <- tempfile(".replaced-", tmpdir = dirname(draft))
    file.rename(dir, old)
  }
  if (!file.rename(draft, dir)) {
    if (!is.null(old)) file.rename(old, dir)
    abort("cannot write ", dir, ": is its parent folder writable?")
  }
  if (!is.null(old)) unlink(old, recursive = TRUE)
}

summarise_package <- function(manifest, proven, dir, say) {
  measured <- manifest$measured
  outputs <- vapply(proven$outputs, function(field) paste(field$name, field$type), "")
  say(length(proven$inputs), " inputs -> ", paste(outputs, collapse = ", "))
  if (!is.null(proven$notes)) say("note: ", proven$notes)
  say("batchable: ", if (manifest$batchable) "yes" else paste0("no, ", manifest$batchable_reason))
  say("one row takes ", signif(measured$fixed_ms + measured$row_ms, 2L), " ms, each further row ",
    signif(1000 * measured$row_ms, 2L), " us; loaded it takes ", size_text(measured$load_bytes))
  say("written to ", dir, " (model.rds is ", size_text(manifest$files$model.rds$size), "). Next: publish_model(",
    describe_text(dir), ", \"file:///path/of/store\")")
}

size_text <- function(bytes) {
  if (is.na(bytes)) {
    return("unknown memory")
  }
  unit <- min(2L, max(0L, floor(log(max(bytes, 1), 1000))))
  paste(signif(bytes / 1000^unit, 3L), c("bytes", "kB", "MB")[unit + 1L])
}
