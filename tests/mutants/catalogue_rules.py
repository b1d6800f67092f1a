"""Mutants for the rules of ``check``: damage to the content of a file in its own format."""

from slide_deploy.graph_checks.census import CENSUS_KEY
from tests.mutants import declared
from tests.mutants import litert_damage as lite
from tests.mutants import mlpackage_damage as coreml
from tests.mutants import rule_damage as damage
from tests.mutants.kinds import edits, file
from tests.mutants.mutant import by_format
from tests.mutants.openvino_damage import in_xml

WIRING = (
    file(
        "value-computed-twice",
        "Two operators compute the same value.",
        "both",
        edits(damage.value_computed_twice),
        rule="SD001",
    ),
    file(
        "nodes-in-a-circle",
        "An operator waits for one behind it.",
        "both",
        edits(damage.nodes_in_a_circle),
        rule="SD001",
    ),
    file(
        "output-of-nothing",
        "Nothing computes the output.",
        "both",
        edits(damage.output_of_nothing),
        rule="SD001",
    ),
    file(
        "loop",
        "An operator is a loop without a body.",
        "both",
        edits(None, in_xml(damage.of_type("TensorIterator")), damage.of_kind("while_loop")),
        rule="SD006",
    ),
    file(
        "dead-branch",
        "An operator computes what nothing reads.",
        "check",
        edits(damage.dead_branch),
        rule="SD013",
    ),
    file(
        "constant-cut-off",
        "What read a constant reads it no more.",
        "both",
        edits(None, in_xml(damage.constant_cut_off), damage.bias_cut_off),
        rule="SD013",
    ),
    file(
        "unfold-operator",
        "An operator copies neighbourhoods.",
        "both",
        edits(
            None, in_xml(damage.of_type("ExtractImagePatches")), damage.of_kind("sliding_windows")
        ),
        rule="SD016",
    ),
    file(
        "neighbours-copied-by-a-convolution",
        "The convolution of the patches copies what it reads.",
        "both",
        edits(damage.neighbours_copied_by_a_convolution),
        rule="SD016",
    ),
    file(
        "pads-missing",
        "A folded convolution is not padded at the top.",
        "both",
        edits(
            None,
            in_xml(damage.pads_missing),
            damage.pads_missing_in_a_program,
            litert=lite.padding_lost,
        ),
        rule="SD017",
    ),
    file(
        "shift-branch-left-in",
        "The folded convolution stands twice, and the two are added.",
        "both",
        edits(damage.shift_branch_left_in),
        rule="SD017",
    ),
    file(
        "one-side-missing",
        "There is no convolution of the values.",
        "both",
        edits(damage.one_side_missing),
        rule="SD017",
    ),
)

DECLARED = (
    file(
        "stored-shape-declared-wrong",
        "A constant has another shape than declared.",
        "check",
        edits(damage.stored_shape_declared_wrong),
        rule="SD002",
    ),
    file(
        "sum-declared-wrong",
        "A sum or a product has another shape than declared.",
        by_format("check", coreml="both"),
        edits(None, in_xml(damage.sum_declared_wrong), damage.product_declared_wrong),
        rule="SD002",
    ),
    file(
        "rank-declared-wrong",
        "A value has another rank than declared.",
        "check",
        edits(openvino=in_xml(damage.rank_declared_wrong)),
        rule="SD002",
    ),
    file(
        "no-opset",
        "No version of the operators is named.",
        "both",
        edits(damage.no_opset),
        rule="SD003",
    ),
    file(
        "old-format",
        "The file format is of an old version.",
        "check",
        edits(None, in_xml(damage.old_format), damage.old_specification),
        rule="SD003",
    ),
    file(
        "foreign-domain-declared",
        "The file names another domain than it uses.",
        "check",
        edits(damage.foreign_domain_declared),
        rule="SD005",
    ),
    file(
        "unused-function",
        "The file defines an operator that it does not use.",
        "check",
        edits(damage.unused_function),
        rule="SD005",
    ),
    file(
        "doubles-stored",
        "A constant is stored as float64.",
        "both",
        edits(damage.doubles_stored),
        rule="SD007",
    ),
    file(
        "doubles-declared",
        "A value is declared as float64.",
        by_format("check", coreml="both"),
        edits(None, in_xml(damage.doubles_declared), damage.doubles_declared_in_a_program),
        rule="SD007",
    ),
    file(
        "rank-6-declared",
        "A value is declared with rank 6.",
        "check",
        edits(openvino=in_xml(damage.rank_6_declared)),
        rule="SD008",
    ),
    file(
        "rank-unknown",
        "A value is declared without a rank.",
        "check",
        edits(coreml=damage.rank_unknown),
        rule="SD008",
    ),
    file(
        "size-left-open",
        "A size inside is declared open.",
        "check",
        edits(None, in_xml(damage.size_left_open), damage.size_left_open_in_a_program),
        rule="SD009",
    ),
    file(
        "batch-opened-under-another-name",
        "The batch of a file for one image is open, under a name that nobody knows.",
        "both",
        edits(damage.batch_opened_under_another_name),
        rule="SD009",
    ),
    file(
        "height-named-batch",
        "The height is open, under the name of the batch.",
        "both",
        edits(damage.height_named_batch),
        rule="SD010",
    ),
    file(
        "input-of-integers",
        "The image is declared as integers.",
        "both",
        edits(coreml=damage.input_of_integers),
        rule="SD010",
    ),
    file(
        "infinite",
        "A number in the program is infinite.",
        "both",
        edits(coreml=damage.infinite),
        rule="SD015",
    ),
    *(
        file(
            name,
            description,
            "check",
            edits(coreml=coreml.declared(CENSUS_KEY, change)),
            rule="SD017",
        )
        for name, description, change in (
            ("no-geometry", "Something is counted without inputs.", declared.no_geometry),
            ("half-a-mixing", "Half an operator is counted.", declared.half_a_mixing),
            (
                "strides-that-do-not-fit",
                "A convolution is counted that has fewer strides than axes.",
                declared.strides_that_do_not_fit,
            ),
            ("counted-twice", "A geometry is counted twice.", declared.counted_twice),
            ("no-json", "The census is half a sentence.", declared.no_json),
            (
                "one-geometry-invented",
                "A product is counted that is not there.",
                declared.one_geometry_invented,
            ),
        )
    ),
)

RULES = (*WIRING, *DECLARED)
