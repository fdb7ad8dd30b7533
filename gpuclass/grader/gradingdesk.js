// What the grading service is doing, and a re-grade that is looked at before it is applied. jQuery is Formgrader's own.
// Everything from the server becomes text, never markup; the server of this page asks the exchange, with its own token.
(function () {
    "use strict";
    var said = gpuclassGrading.words, assignment = gpuclassGrading.assignment;
    var BUSY_MS = 2000, QUIET_MS = 15000, BATCH_MS = 1000;
    var desk = $("#gpuclass-grading"), finished = null, timer = null;

    function say(key, values) {
        return said[key].replace(/\{(\w+)\}/g, function (whole, name) { return values && name in values ? values[name] : whole; });
    }
    function api() {
        return base_url + "/formgrader/api/" + Array.prototype.map.call(arguments, encodeURIComponent).join("/");
    }
    function reason(answer) {
        try { return JSON.parse(answer.responseText).message; } catch (error) { return answer.statusText; }
    }
    function points(value) { return value === null || value === undefined ? "–" : String(Math.round(value * 100) / 100); }
    function person(student) {
        var place = base_url + "/formgrader/manage_students/" + encodeURIComponent(student);
        return place + (assignment ? "/" + encodeURIComponent(assignment) : "");
    }

    // Progress
    function line(each) {
        var box = $("<div/>").addClass("grading-line");
        var parts = [say("graded-of", { done: each.graded, all: each.submitted })];
        ["waiting", "running", "delayed", "failed", "quarantined"].forEach(function (state) {
            if (each[state]) { parts.push(say(state, { count: each[state] })); }
        });
        if (!assignment) { box.append($("<b/>").text(each.name + " ")); }
        box.append($("<span/>").addClass("grading-counts").text(parts.join(" · ")));
        var bar = $("<div/>").addClass("progress").css({ height: "8px", margin: "4px 0 10px" }).appendTo(box);
        [["success", each.graded], ["warning", each.quarantined], ["danger", each.failed]].forEach(function (part) {
            var width = each.submitted ? 100 * part[1] / each.submitted : 0;
            $("<div/>").addClass("progress-bar progress-bar-" + part[0]).css("width", width + "%").appendTo(bar);
        });
        return box;
    }
    function list(title, entries, kind) {
        if (!entries.length) { return null; }
        var box = $("<div/>").addClass("alert alert-" + kind + " grading-" + kind).append($("<b/>").text(title));
        var rows = $("<ul/>").appendTo(box);
        entries.forEach(function (each) {
            var where = each.assignment === assignment ? "" : each.assignment + " · ";
            $("<li/>").appendTo(rows)
                .append($("<a/>").attr("href", base_url + "/formgrader/manage_students/" +
                    encodeURIComponent(each.student) + "/" + encodeURIComponent(each.assignment))
                    .text(where + each.student))
                .append(document.createTextNode(" — " + each.reason));
        });
        return box;
    }
    function show(found) {
        var here = found.assignments.filter(function (each) { return assignment ? each.name === assignment : each.submitted; });
        var mine = function (each) { return !assignment || each.assignment === assignment; };
        var busy = here.some(function (each) { return each.waiting || each.running; });
        var done = here.reduce(function (sum, each) { return sum + each.graded + each.quarantined + each.failed; }, 0);
        var place = desk.find(".grading-now").empty();
        if (!found.worker.alive) {
            place.append($("<div/>").addClass("alert alert-danger grading-worker").text(say("worker-gone")));
        }
        here.forEach(function (each) { place.append(line(each)); });
        place.append(list(say("list-quarantined"), found.quarantined.filter(mine), "warning"));
        place.append(list(say("list-failing"), found.failing.filter(mine), "danger"));
        if (finished !== null && done !== finished) { refresh(); }
        finished = done;
        return busy;
    }
    function refresh() {  // the rows of Formgrader's own table, which has the scores
        if (typeof models !== "undefined" && models && models.loaded && assignment) {
            models.each(function (model) { model.fetch(); });
        }
    }
    function look() {
        clearTimeout(timer);
        if (document.hidden) { return; }
        $.get(api("grading")).done(function (answer) {
            timer = setTimeout(look, show(JSON.parse(answer)) ? BUSY_MS : QUIET_MS);
        }).fail(function (answer) {
            desk.find(".grading-now").empty().append($("<div/>").addClass("alert alert-warning").text(reason(answer)));
            timer = setTimeout(look, QUIET_MS);
        });
    }
    document.addEventListener("visibilitychange", look);

    // Re-grading: a list of what would change, then one button
    var kept = "gpuclass-regrade-" + assignment;
    function button(text, kind, action) {
        return $("<button/>").attr("type", "button").addClass("btn btn-sm btn-" + kind).text(text).click(action);
    }
    function changes(batch) {
        var table = $("<table/>").addClass("table table-condensed grading-changes");
        var head = $("<tr/>").appendTo($("<thead/>").appendTo(table));
        ["student", "total", "parts"].forEach(function (key) { head.append($("<th/>").text(say(key))); });
        var body = $("<tbody/>").appendTo(table);
        batch.changes.forEach(function (each) {
            var parts = (each.cells || []).map(function (cell) {
                return cell.name + ": " + points(cell.before) + " → " + points(cell.after);
            });
            $("<tr/>").appendTo(body)
                .append($("<td/>").append($("<a/>").attr("href", person(each.student)).text(each.student)))
                .append($("<td/>").addClass(each.after < each.before ? "text-danger" : "text-success")
                    .text(points(each.before) + " → " + points(each.after) + " / " + points(each.max_score)))
                .append($("<td/>").text(parts.join(", ")));
        });
        return table;
    }
    function regraded(batch, number) {
        var place = desk.find(".grading-batch").empty();
        var title = batch.state === "ready" && !batch.changes.length ? "batch-same" : "batch-" + batch.state;
        place.append($("<p/>").append($("<b/>").text(say(title, {
            done: batch.done, total: batch.total, changes: batch.changes.length, same: batch.unchanged
        }))));
        if (batch.failed) { place.append($("<p/>").addClass("text-danger").text(say("batch-failed", { count: batch.failed }))); }
        if (batch.changes.length) { place.append(changes(batch)); }
        if (batch.state === "ready" && batch.changes.length) {
            place.append(button(say("apply"), "primary", function () { decide(number, "apply"); }), " ");
        }
        if (batch.state === "ready" || batch.state === "previewing") {
            place.append(button(say("cancel"), "default", function () { decide(number, "cancel"); }));
        }
        desk.find(".grading-regrade").prop("disabled", ["previewing", "applying"].indexOf(batch.state) >= 0);
        if (batch.state === "previewing" || batch.state === "applying") {
            setTimeout(function () { follow(number); }, BATCH_MS);
        } else if (batch.state !== "ready") {
            sessionStorage.removeItem(kept);
            look();
            refresh();
        }
    }
    function trouble(answer) {
        desk.find(".grading-regrade").prop("disabled", false);
        desk.find(".grading-batch").empty().append($("<div/>").addClass("alert alert-danger").text(reason(answer)));
        sessionStorage.removeItem(kept);
    }
    function follow(number) {
        $.get(api("regrade", assignment, number)).done(function (answer) { regraded(JSON.parse(answer), number); }).fail(trouble);
    }
    function decide(number, what) {
        desk.find(".grading-batch button").prop("disabled", true);
        $.post(api("regrade", assignment, number, what)).done(function () { follow(number); }).fail(trouble);
    }
    function begin() {
        desk.find(".grading-regrade").prop("disabled", true);
        $.post(api("regrade", assignment)).done(function (answer) {
            var number = JSON.parse(answer).batch;
            sessionStorage.setItem(kept, number);  // a page that is loaded again goes on
            follow(number);
        }).fail(trouble);
    }

    if (assignment) {  // first: what arrives later must not move it away from under the mouse
        desk.append(button(say("regrade"), "default", begin).addClass("grading-regrade").css("margin-bottom", "10px"));
    }
    desk.append($("<div/>").addClass("grading-now"));
    if (assignment) {
        desk.append($("<div/>").addClass("grading-batch"));
        if (sessionStorage.getItem(kept)) { follow(sessionStorage.getItem(kept)); }
        // The button of one submission puts it in line: its row says so, and the counts above go on by themselves.
        SubmissionUI.prototype.autograde_success = function (answer) {
            var outcome = JSON.parse(answer);
            this.model.fetch();
            if (!outcome.success) { createLogModal("error-modal", say("not-queued"), outcome.error); }
            look();
        };
    }
    look();
}());
