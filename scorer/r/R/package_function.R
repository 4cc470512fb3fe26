#' Package a function
#'
#' For R code that is not a model of rows: a function with named inputs and named outputs, each a single value or a
#' vector of any length. It is published and served like a model, each request a call of its own. That it
#' computes its example, with the declared packages and objects alone, is proven in a fresh R process.
#'
#' @param fun The function, or the path of an R file that defines `run_function <- function(...)`. Its arguments are the
#'   inputs; arguments with a default need not be declared, and then keep it. It returns a named list with the outputs,
#'   or the bare value if there is one output. What a function made by a function has captured goes with it.
#' @param name,version,dir,packages,description,retry,quiet As for [package_model()].
#' @param inputs,outputs Named lists of types: `"double"`, `"integer"`, `"logical"`, `"string"`, `"factor"`, `"date"` or
#'   `"datetime"` for a single value, with `[]` after it for a vector, as in `"double[]"`. `"numeric"`, `"character"`,
#'   `"Date"` and `"POSIXct"` are taken too.
#' @param example A named list of inputs that the function can compute: the proof, and what callers see as an example. A
#'   factor's levels are those of its value here, or in the answer.
#' @param objects A named list of data and functions of your session that the function uses.
#' @param files Paths of files that the function needs. R files are sourced before it, with the package's folder as
#'   working directory, so they may read the others.
#' @return The folder's path, invisibly.
#' @examples
#' \dontrun{
#' payment <- function(principal, rate, years) {
#'   monthly <- rate / 12
#'   list(payment = principal * monthly / (1 - (1 + monthly)^(-12 * years)))
#' }
#' package_function(payment, "loan-payment", "1",
#'   inputs = list(principal = "double", rate = "double", years = "integer"), outputs = list(payment = "double"),
#'   example = list(principal = 10000, rate = 0.05, years = 10L), dir = "loan-payment"
#' )
#' }
#' @export
package_function <- function(fun, name, version, inputs, outputs, example, dir, packages = NULL, objects = list(),
                             files = NULL, description = "", retry = TRUE, quiet = FALSE) {
  need_arguments(
    c("fun", "name", "version", "inputs", "outputs", "example", "dir"),
    'package_function(double, "double", "1", list(x = "double"), list(y = "double"), list(x = 1), "double")'
  )
  say <- if (isTRUE(quiet)) function(...) invisible() else function(...) message(...)
  if (is.numeric(version) && length(version) == 1L && version == trunc(version)) version <- format(version)
  check_model_name(name)
  check_version(version)
  check_description(description)
  check_target(dir)
  check_function(fun, objects)
  example <- as.list(example)
  fields <- describe_function_side(inputs, example, "inputs")
  example <- rebuild_inputs(example, fields)

  say(name, " ", version, ": a function of ", if (length(example) > 0L) quoted(names(example)) else "no inputs")
  load_packages(packages)
  draft <- tempfile(".package-", tmpdir = dirname(normalizePath(dir, mustWork = FALSE)))
  dir.create(draft, recursive = TRUE)
  on.exit(unlink(draft, recursive = TRUE))
  copy_files(files, draft)
  if (is.function(fun)) {
    objects$run_function <- if (is.primitive(fun)) fun else utils::removeSource(fun)
  } else {
    copy_whole(fun, file.path(draft, "score.R"))
  }
  save_object(objects, file.path(draft, "model.rds"))
  loaded <- load_function(draft, readRDS(file.path(draft, "model.rds")), list.files(draft))
  check_arguments(loaded, names(example))
  answer <- session_call(loaded, example)
  described <- describe_function_side(outputs, named_answer(answer, names(outputs)), "outputs")
  if (length(described) == 0L) abort("outputs must name at least one, as in outputs = list(payment = \"double\")")
  expected <- function_outputs(answer, described)

  manifest <- list(
    format = "scoregate.model/1", name = name, version = version,
    created = format(Sys.time(), "%Y-%m-%dT%H:%M:%SZ", tz = "UTC"), description = description,
    r_version = as.character(getRversion()), model_class = json_array("function"),
    packages = function_packages(objects, packages, draft), files = describe_files(draft),
    predict = list(method = "function", options = named(list())),
    signature = list(inputs = lapply(fields, field_json), outputs = lapply(described, field_json), kind = "function")
  )
  write_manifest(manifest, draft)
  repeats <- identical(function_outputs(session_call(loaded, example), described), expected, num.eq = FALSE)
  proven <- prove_in_fresh_process(draft, example, if (repeats) expected, NULL, function(...) say("  ", ...),
    prove = "prove_function")
  manifest$signature$inputs <- lapply(proven$inputs, field_json)
  manifest <- c(manifest, list(batchable = FALSE, batchable_reason = "each call of a function is a request of its own",
    retry = isTRUE(retry), measured = proven$measured, example = proven$example))
  write_manifest(manifest, draft)
  move_into_place(draft, dir)
  summarise_function(manifest, fields, described, dir, say)
  invisible(dir)
}

check_function <- function(fun, objects) {
  of_file <- is_text(fun) && grepl("[.][rR]$", fun) && file.exists(fun)
  if (!is.function(fun) && !of_file) {
    abort("fun must be a function, or the path of an R file that defines run_function <- function(...)")
  }
  if (!is.list(objects) || length(objects) > 0L && (is.null(names(objects)) || !all(nzchar(names(objects))))) {
    abort("objects must be a named list, as in objects = list(rates = rates, discount = discount)")
  }
  if ("run_function" %in% names(objects)) abort("run_function in objects= is the function's own name: rename it")
}

#' Every input is an argument, and every argument without a default is an input.
#' @noRd
check_arguments <- function(fun, inputs) {
  arguments <- formals(args(fun))
  unknown <- if ("..." %in% names(arguments)) character() else setdiff(inputs, names(arguments))
  if (length(unknown) > 0L) {
    abort("the function has no argument ", quoted(unknown), ": its arguments are ", quoted(names(arguments)))
  }
  needed <- vapply(arguments, function(default) is.symbol(default) && !nzchar(as.character(default)), NA)
  absent <- setdiff(names(arguments)[needed], c("...", inputs))
  if (length(absent) > 0L) {
    abort("the function needs ", quoted(absent), ", which inputs= does not declare: declare it, or give it a default")
  }
}

session_call <- function(fun, inputs) {
  keep_seed(tryCatch(raw_call(fun, inputs, default_seed), error = function(e) {
    abort("the function cannot compute its own example: ", condition_text(e))
  }))
}

named_answer <- function(answer, names) {
  if (is.list(answer)) answer else if (length(names) == 1L) stats::setNames(list(answer), names) else list()
}

function_packages <- function(objects, packages, draft) {
  code <- lapply(list.files(draft, "[.][rR]$", full.names = TRUE), parse, keep.source = FALSE)
  called <- lapply(Filter(is.function, objects), function(fun) {
    if (is.primitive(fun)) {
      return(character())
    }
    parts <- as.expression(c(list(body(fun)), as.list(formals(fun))))
    c(packages_called(parts, environment(fun)), setdiff(namespace_name(fun), ""))
  })
  packages_with_versions(c(packages, unlist(called), unlist(lapply(unlist(code), packages_called))))
}

summarise_function <- function(manifest, inputs, outputs, dir, say) {
  shown <- function(fields) {
    paste(vapply(fields, function(field) {
      paste0(field$name, " ", field$type, if (isTRUE(field$vector)) "[]")
    }, ""), collapse = ", ")
  }
  say("(", shown(inputs), ") -> ", shown(outputs))
  say("a call like the example takes ", signif(manifest$measured$fixed_ms, 2L), " ms; loaded it takes ",
    size_text(manifest$measured$load_bytes))
  say("written to ", dir, " (model.rds is ", size_text(manifest$files$model.rds$size), "). Next: publish_model(",
    describe_text(dir), ", \"file:///path/of/store\")")
}
