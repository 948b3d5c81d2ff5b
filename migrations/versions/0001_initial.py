"""The first schema: tables, indexes and the views for people."""

import sqlalchemy as sa
from alembic import op


revision: str = '0001'
down_revision: str | None = None
branch_labels = None
depends_on = None

VIEWS = {
    "latest_prediction": """
        CREATE VIEW latest_prediction AS
        SELECT file.path, file.label, prediction.confidence, prediction.is_unknown,
               model_version.name AS model_version, image.taken_at, file.classified_at
        FROM file
        JOIN prediction ON prediction.id = file.prediction_id
        JOIN image ON image.id = prediction.image_id
        JOIN model_version ON model_version.id = prediction.model_version_id
        WHERE file.is_current = 1
    """,
    "labelled": """
        CREATE VIEW labelled AS
        SELECT file.path, label.label, label.source, label.labelled_at
        FROM file
        JOIN label ON label.image_id = file.image_id AND label.retracted_at IS NULL
        WHERE file.is_current = 1
    """,
    "failure": """
        CREATE VIEW failure AS
        SELECT path, state, reason, attempts, next_try_at
        FROM file
        WHERE is_current = 1 AND state IN ('retry', 'quarantined')
    """,
}


def upgrade() -> None:
    op.create_table('event',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('happened_at', sa.String(), nullable=False),
    sa.Column('payload', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_event')),
    sqlite_autoincrement=True
    )
    op.create_table('heartbeat',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('pid', sa.Integer(), nullable=False),
    sa.Column('phase', sa.String(), nullable=False),
    sa.Column('started_at', sa.String(), nullable=False),
    sa.Column('beat_at', sa.String(), nullable=False),
    sa.Column('detail', sa.JSON(), nullable=False),
    sa.CheckConstraint('id = 1', name=op.f('ck_heartbeat_single')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_heartbeat'))
    )
    op.create_table('image',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('sha256', sa.String(), nullable=False),
    sa.Column('size', sa.Integer(), nullable=False),
    sa.Column('format', sa.String(), nullable=False),
    sa.Column('width', sa.Integer(), nullable=False),
    sa.Column('height', sa.Integer(), nullable=False),
    sa.Column('taken_at', sa.String(), nullable=True),
    sa.Column('phash', sa.String(), nullable=False),
    sa.Column('split', sa.String(), nullable=True),
    sa.Column('split_at', sa.String(), nullable=True),
    sa.Column('first_seen_at', sa.String(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_image')),
    sa.UniqueConstraint('sha256', name=op.f('uq_image_sha256'))
    )
    with op.batch_alter_table('image', schema=None) as batch_op:
        batch_op.create_index('ix_image_size', ['size'], unique=False)
        batch_op.create_index('ix_image_taken_at', ['taken_at'], unique=False)

    op.create_table('request',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('kind', sa.String(), nullable=False),
    sa.Column('argument', sa.JSON(), nullable=False),
    sa.Column('asked_at', sa.String(), nullable=False),
    sa.Column('taken_at', sa.String(), nullable=True),
    sa.Column('finished_at', sa.String(), nullable=True),
    sa.Column('outcome', sa.String(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_request'))
    )
    op.create_table('source_state',
    sa.Column('title', sa.String(), nullable=False),
    sa.Column('watching', sa.String(), nullable=True),
    sa.Column('alarm', sa.String(), nullable=True),
    sa.Column('alarm_at', sa.String(), nullable=True),
    sa.Column('listed_at', sa.String(), nullable=True),
    sa.Column('note', sa.String(), nullable=True),
    sa.PrimaryKeyConstraint('title', name=op.f('pk_source_state'))
    )
    op.create_table('training_run',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('strategy', sa.String(), nullable=False),
    sa.Column('state', sa.String(), nullable=False),
    sa.Column('started_at', sa.String(), nullable=False),
    sa.Column('finished_at', sa.String(), nullable=True),
    sa.Column('plan', sa.JSON(), nullable=False),
    sa.Column('data', sa.JSON(), nullable=False),
    sa.Column('metrics', sa.JSON(), nullable=False),
    sa.Column('verdict', sa.JSON(), nullable=True),
    sa.Column('log', sa.String(), nullable=True),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_training_run'))
    )
    op.create_table('delivery',
    sa.Column('event_id', sa.Integer(), nullable=False),
    sa.Column('sink', sa.String(), nullable=False),
    sa.Column('attempts', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('next_try_at', sa.String(), nullable=True),
    sa.Column('delivered_at', sa.String(), nullable=True),
    sa.Column('error', sa.String(), nullable=True),
    sa.ForeignKeyConstraint(['event_id'], ['event.id'], name=op.f('fk_delivery_event_id')),
    sa.PrimaryKeyConstraint('event_id', 'sink', name=op.f('pk_delivery'))
    )
    with op.batch_alter_table('delivery', schema=None) as batch_op:
        batch_op.create_index('ix_delivery_waiting', ['sink', 'event_id'], unique=False, sqlite_where=sa.text('delivered_at IS NULL'))

    op.create_table('label',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('image_id', sa.Integer(), nullable=False),
    sa.Column('label', sa.String(), nullable=False),
    sa.Column('source', sa.String(), nullable=False),
    sa.Column('who', sa.String(), nullable=True),
    sa.Column('labelled_at', sa.String(), nullable=False),
    sa.Column('retracted_at', sa.String(), nullable=True),
    sa.ForeignKeyConstraint(['image_id'], ['image.id'], name=op.f('fk_label_image_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_label'))
    )
    with op.batch_alter_table('label', schema=None) as batch_op:
        batch_op.create_index('ix_label_image_id', ['image_id'], unique=False)
        batch_op.create_index('ix_label_label', ['label'], unique=False)

    op.create_table('model_version',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('digest', sa.String(), nullable=False),
    sa.Column('bundle', sa.String(), nullable=False),
    sa.Column('backbone', sa.String(), nullable=False),
    sa.Column('head', sa.String(), nullable=False),
    sa.Column('classes', sa.JSON(), nullable=False),
    sa.Column('metrics', sa.JSON(), nullable=False),
    sa.Column('training_run_id', sa.Integer(), nullable=True),
    sa.Column('created_at', sa.String(), nullable=False),
    sa.ForeignKeyConstraint(['training_run_id'], ['training_run.id'], name=op.f('fk_model_version_training_run_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_model_version')),
    sa.UniqueConstraint('digest', name=op.f('uq_model_version_digest')),
    sa.UniqueConstraint('name', name=op.f('uq_model_version_name'))
    )
    op.create_table('deployment',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('model_version_id', sa.Integer(), nullable=False),
    sa.Column('deployed_at', sa.String(), nullable=False),
    sa.Column('reason', sa.String(), nullable=False),
    sa.Column('who', sa.String(), nullable=True),
    sa.ForeignKeyConstraint(['model_version_id'], ['model_version.id'], name=op.f('fk_deployment_model_version_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_deployment'))
    )
    op.create_table('prediction',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('image_id', sa.Integer(), nullable=False),
    sa.Column('model_version_id', sa.Integer(), nullable=False),
    sa.Column('label', sa.String(), nullable=False),
    sa.Column('confidence', sa.Double(), nullable=False),
    sa.Column('top_k', sa.JSON(), nullable=False),
    sa.Column('is_unknown', sa.Boolean(), nullable=False),
    sa.Column('predicted_at', sa.String(), nullable=False),
    sa.ForeignKeyConstraint(['image_id'], ['image.id'], name=op.f('fk_prediction_image_id')),
    sa.ForeignKeyConstraint(['model_version_id'], ['model_version.id'], name=op.f('fk_prediction_model_version_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_prediction')),
    sa.UniqueConstraint('image_id', 'model_version_id', name=op.f('uq_prediction_image_id_model_version_id'))
    )
    with op.batch_alter_table('prediction', schema=None) as batch_op:
        batch_op.create_index('ix_prediction_confidence', ['confidence'], unique=False)
        batch_op.create_index('ix_prediction_model_version_id', ['model_version_id'], unique=False)
        batch_op.create_index('ix_prediction_unknown', ['is_unknown'], unique=False, sqlite_where=sa.text('is_unknown = 1'))

    op.create_table('file',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('source', sa.String(), nullable=False),
    sa.Column('path', sa.String(), nullable=False),
    sa.Column('path_bytes', sa.LargeBinary(), nullable=False),
    sa.Column('is_current', sa.Boolean(), nullable=False),
    sa.Column('size', sa.Integer(), nullable=False),
    sa.Column('mtime_ns', sa.Integer(), nullable=False),
    sa.Column('inode', sa.Integer(), nullable=False),
    sa.Column('state', sa.String(), nullable=False),
    sa.Column('reason', sa.String(), nullable=True),
    sa.Column('attempts', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('next_try_at', sa.String(), nullable=True),
    sa.Column('claimed_by', sa.String(), nullable=True),
    sa.Column('lease_until', sa.String(), nullable=True),
    sa.Column('found_at', sa.String(), nullable=False),
    sa.Column('state_at', sa.String(), nullable=False),
    sa.Column('removed_at', sa.String(), nullable=True),
    sa.Column('image_id', sa.Integer(), nullable=True),
    sa.Column('prediction_id', sa.Integer(), nullable=True),
    sa.Column('label', sa.String(), nullable=True),
    sa.Column('classified_at', sa.String(), nullable=True),
    sa.CheckConstraint("state IN ('settling', 'queued', 'claimed', 'done', 'retry', 'quarantined', 'ignored', 'gone')", name=op.f('ck_file_state')),
    sa.ForeignKeyConstraint(['image_id'], ['image.id'], name=op.f('fk_file_image_id')),
    sa.ForeignKeyConstraint(['prediction_id'], ['prediction.id'], name=op.f('fk_file_prediction_id')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_file'))
    )
    with op.batch_alter_table('file', schema=None) as batch_op:
        batch_op.create_index('ix_file_classified_at', ['classified_at'], unique=False)
        batch_op.create_index('ix_file_failed', ['state', 'state_at'], unique=False, sqlite_where=sa.text("state IN ('retry', 'quarantined')"))
        batch_op.create_index('ix_file_image_id', ['image_id'], unique=False)
        batch_op.create_index('ix_file_label_classified', ['label', 'classified_at'], unique=False)
        batch_op.create_index('ix_file_path', ['path'], unique=False)
        batch_op.create_index('ix_file_prediction_id', ['prediction_id'], unique=False)
        batch_op.create_index('ix_file_source_classified', ['source', 'classified_at'], unique=False)
        batch_op.create_index('ix_file_waiting', ['state', 'next_try_at', 'id'], unique=False, sqlite_where=sa.text("state IN ('settling', 'queued', 'claimed', 'retry')"))
        batch_op.create_index('uq_file_current', ['path_bytes'], unique=True, sqlite_where=sa.text('is_current = 1'))

    for view in VIEWS.values():
        op.execute(view)


def downgrade() -> None:
    for view in VIEWS:
        op.execute(f"DROP VIEW {view}")
    with op.batch_alter_table('file', schema=None) as batch_op:
        batch_op.drop_index('uq_file_current', sqlite_where=sa.text('is_current = 1'))
        batch_op.drop_index('ix_file_waiting', sqlite_where=sa.text("state IN ('settling', 'queued', 'claimed', 'retry')"))
        batch_op.drop_index('ix_file_source_classified')
        batch_op.drop_index('ix_file_prediction_id')
        batch_op.drop_index('ix_file_path')
        batch_op.drop_index('ix_file_label_classified')
        batch_op.drop_index('ix_file_image_id')
        batch_op.drop_index('ix_file_failed', sqlite_where=sa.text("state IN ('retry', 'quarantined')"))
        batch_op.drop_index('ix_file_classified_at')

    op.drop_table('file')
    with op.batch_alter_table('prediction', schema=None) as batch_op:
        batch_op.drop_index('ix_prediction_unknown', sqlite_where=sa.text('is_unknown = 1'))
        batch_op.drop_index('ix_prediction_model_version_id')
        batch_op.drop_index('ix_prediction_confidence')

    op.drop_table('prediction')
    op.drop_table('deployment')
    op.drop_table('model_version')
    with op.batch_alter_table('label', schema=None) as batch_op:
        batch_op.drop_index('ix_label_label')
        batch_op.drop_index('ix_label_image_id')

    op.drop_table('label')
    with op.batch_alter_table('delivery', schema=None) as batch_op:
        batch_op.drop_index('ix_delivery_waiting', sqlite_where=sa.text('delivered_at IS NULL'))

    op.drop_table('delivery')
    op.drop_table('training_run')
    op.drop_table('source_state')
    op.drop_table('request')
    with op.batch_alter_table('image', schema=None) as batch_op:
        batch_op.drop_index('ix_image_taken_at')
        batch_op.drop_index('ix_image_size')

    op.drop_table('image')
    op.drop_table('heartbeat')
    op.drop_table('event')
